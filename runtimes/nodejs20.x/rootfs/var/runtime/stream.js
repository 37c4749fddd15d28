'use strict';
// Response streaming: what awslambda.streamifyResponse offers to functions.

const { Writable } = require('node:stream');

const STREAMING = Symbol.for('aws.lambda.runtime.handler.streaming');
const HTTP_TYPE = 'application/vnd.awslambda.http-integration-response';
const PRELUDE_END = Buffer.alloc(8);

/** What a streaming handler writes its answer to. */
class ResponseStream extends Writable {
  #client;
  #id;
  #contentType = 'application/octet-stream';
  #response = null;
  #prelude = null;
  #failure = null;

  constructor(client, id, options) {
    super({ highWaterMark: options?.highWaterMark ?? 64 * 1024 });
    this.#client = client;
    this.#id = id;
  }

  /** Whether bytes are on their way: an error can only follow them then. */
  get started() {
    return this.#response !== null;
  }

  setContentType(type) {
    if (this.started) throw new Error('The content type is set before the first write');
    this.#contentType = String(type).replace(/[^\x20-\x7e]/g, '');
  }

  /** Sets the status, headers and cookies of an answer over HTTP. */
  setPrelude(metadata) {
    this.setContentType(HTTP_TYPE);
    this.#prelude = Buffer.concat([Buffer.from(JSON.stringify(metadata ?? {})), PRELUDE_END]);
  }

  /** Ends a started answer with an error. */
  fail(error) {
    this.#failure = error;
    this.end();
  }

  #open() {
    this.#response ??= this.#client.openResponse(this.#id, this.#contentType);
    const prelude = this.#prelude;
    this.#prelude = null;
    return prelude;
  }

  _write(chunk, encoding, callback) {
    const prelude = this.#open();
    const bytes = typeof chunk === 'string' ? Buffer.from(chunk, encoding) : chunk;
    this.#response.write(prelude ? Buffer.concat([prelude, bytes]) : bytes, callback);
  }

  _final(callback) {
    const prelude = this.#open();
    const finish = () => this.#response.end(this.#failure).then(() => callback(), callback);
    if (prelude) this.#response.write(prelude, finish);
    else finish();
  }
}

/** Makes awslambda, which functions find as a global. */
function defineGlobal() {
  globalThis.awslambda = {
    streamifyResponse(handler, options) {
      handler[STREAMING] = options ?? {};
      return handler;
    },
    HttpResponseStream: {
      from(stream, metadata) {
        stream.setPrelude(metadata);
        return stream;
      },
    },
  };
}

module.exports = { ResponseStream, STREAMING, defineGlobal };
