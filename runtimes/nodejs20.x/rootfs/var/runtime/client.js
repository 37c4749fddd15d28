'use strict';
// The Runtime API over one kept connection.
//
// It speaks HTTP on a socket itself and does not use node's http module:
// functions and their layers patch and observe that module, and must not see
// the runtime's own calls.

const net = require('node:net');

const PREFIX = '/2018-06-01/runtime/';
const CRLF = '\r\n';
const HEAD_END = Buffer.from('\r\n\r\n');
const EMPTY = Buffer.alloc(0);

/** Reads answers, one after the other, from the bytes of a connection. */
class AnswerReader {
  #pending = EMPTY;
  #later = []; // bytes that follow pending
  #length = 0; // of all of them
  #need = 0; // how many there must be for another look: large bodies are joined once

  /** Returns a whole answer, or null while bytes are missing. */
  push(bytes) {
    this.#later.push(bytes);
    this.#length += bytes.length;
    if (this.#length < this.#need) return null;
    this.#pending = Buffer.concat([this.#pending, ...this.#later], this.#length);
    this.#later = [];
    this.#need = 0;
    const answer = this.#parse();
    this.#length = this.#pending.length;
    return answer;
  }

  #parse() {
    const headEnd = this.#pending.indexOf(HEAD_END);
    if (headEnd < 0) return null;
    const [statusLine, ...lines] = this.#pending.toString('utf8', 0, headEnd).split(CRLF);
    const headers = Object.create(null);
    for (const line of lines) {
      const colon = line.indexOf(':');
      headers[line.slice(0, colon).toLowerCase()] = line.slice(colon + 1).trim();
    }
    const start = headEnd + HEAD_END.length;
    const body = headers['transfer-encoding'] === 'chunked'
      ? this.#chunked(start)
      : this.#sized(start, Number(headers['content-length'] ?? 0));
    if (body === null) return null;
    return { status: Number(statusLine.split(' ', 2)[1]), headers, body };
  }

  #sized(start, length) {
    this.#need = start + length;
    if (this.#pending.length < this.#need) return null;
    this.#need = 0;
    const body = this.#pending.subarray(start, start + length);
    this.#pending = this.#pending.subarray(start + length);
    return body;
  }

  #chunked(start) {
    const chunks = [];
    for (let at = start; ;) {
      const lineEnd = this.#pending.indexOf(CRLF, at);
      if (lineEnd < 0) return null;
      const length = Number.parseInt(this.#pending.toString('latin1', at, lineEnd), 16);
      at = lineEnd + 2;
      if (this.#pending.length < at + length + 2) return null;
      if (length === 0) {
        this.#pending = this.#pending.subarray(at + 2);
        return Buffer.concat(chunks);
      }
      chunks.push(this.#pending.subarray(at, at + length));
      at += length + 2;
    }
  }
}

class RuntimeClient {
  #host;
  #port;
  #socket = null;
  #waiting = null; // { resolve, reject } of the call in progress

  constructor(address) {
    const colon = address.lastIndexOf(':');
    this.#host = address.slice(0, colon);
    this.#port = Number(address.slice(colon + 1));
  }

  /** Waits for the next event. */
  async next() {
    return this.#expect(200, await this.#call('GET', 'invocation/next', '', null));
  }

  async postResponse(id, body) {
    const headers = `Content-Type: application/json${CRLF}`;
    this.#expect(202, await this.#call('POST', `invocation/${id}/response`, headers, body));
  }

  async postError(id, { type, body }) {
    this.#expect(202, await this.#call('POST', `invocation/${id}/error`, errorHeaders(type), body));
  }

  async postInitError({ type, body }) {
    this.#expect(202, await this.#call('POST', 'init/error', errorHeaders(type), body));
  }

  /**
   * Starts an answer that is sent piece by piece. write takes bytes, and a
   * function to call when more may follow; end takes an error, or null.
   */
  openResponse(id, contentType) {
    const socket = this.#connect();
    socket.write(this.#head('POST', `invocation/${id}/response`, [
      `Content-Type: ${contentType}`,
      'Lambda-Runtime-Function-Response-Mode: streaming',
      'Transfer-Encoding: chunked',
      'Trailer: Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body',
      '',
    ].join(CRLF)));
    return {
      write(bytes, more) {
        if (bytes.length === 0) return more();
        socket.cork();
        socket.write(bytes.length.toString(16) + CRLF);
        socket.write(bytes);
        socket.write(CRLF, (err) => more(err));
        socket.uncork();
      },
      end: async (error) => {
        const trailer = error === null ? '' :
          `Lambda-Runtime-Function-Error-Type: ${headerValue(error.type)}${CRLF}` +
          `Lambda-Runtime-Function-Error-Body: ${Buffer.from(error.body).toString('base64')}${CRLF}`;
        this.#expect(202, await this.#await(socket, () => socket.write(`0${CRLF}${trailer}${CRLF}`)));
      },
    };
  }

  #head(method, path, headers) {
    return `${method} ${PREFIX}${path} HTTP/1.1${CRLF}Host: ${this.#host}:${this.#port}${CRLF}` +
      `User-Agent: aws-lambda-nodejs/${process.version}${CRLF}${headers}${CRLF}`;
  }

  #call(method, path, headers, body) {
    const socket = this.#connect();
    return this.#await(socket, () => {
      if (body === null) {
        socket.write(this.#head(method, path, headers));
        return;
      }
      socket.cork();
      socket.write(this.#head(method, path, `${headers}Content-Length: ${Buffer.byteLength(body)}${CRLF}`));
      socket.write(body);
      socket.uncork();
    });
  }

  /** Sends a request and waits; the process lives as long as that takes. */
  #await(socket, send) {
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
      socket.ref();
      send();
    });
  }

  #expect(status, answer) {
    if (answer.status === status) return answer;
    throw new Error(`Runtime API answered ${answer.status}: ${answer.body}`);
  }

  #connect() {
    if (this.#socket) return this.#socket;
    const socket = net.connect({ host: this.#host, port: this.#port, noDelay: true });
    const reader = new AnswerReader();
    socket.on('data', (bytes) => {
      const answer = reader.push(bytes);
      if (answer === null || this.#waiting === null) return;
      // While the function works, the connection must not keep the event
      // loop from becoming empty.
      socket.unref();
      const { resolve } = this.#waiting;
      this.#waiting = null;
      resolve(answer);
    });
    const lost = (err) => {
      this.#socket = null;
      this.#waiting?.reject(err ?? new Error('Runtime API closed the connection'));
      this.#waiting = null;
    };
    socket.on('error', lost);
    socket.on('close', () => lost());
    this.#socket = socket;
    return socket;
  }
}

function errorHeaders(type) {
  return `Content-Type: application/json${CRLF}Lambda-Runtime-Function-Error-Type: ${headerValue(type)}${CRLF}`;
}

/** A header's value that a function can choose: no line breaks, ASCII only. */
function headerValue(value) {
  return String(value).replace(/[^\x20-\x7e]/g, '?');
}

module.exports = { RuntimeClient };
