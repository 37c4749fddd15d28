'use strict';
// One invoke after the other: calls the handler and sends what comes of it.

const { report } = require('./errors.js');
const { logError, setRequestId } = require('./log.js');
const { ResponseStream, STREAMING } = require('./stream.js');

/** Parses the JSON of a header; absent is undefined. */
function parseHeader(text) {
  return text === undefined || text === '' ? undefined : JSON.parse(text);
}

/** What a handler gets as its context. */
function makeContext(headers, env) {
  const deadline = Number(headers['lambda-runtime-deadline-ms']);
  const identity = parseHeader(headers['lambda-runtime-cognito-identity']);
  const context = {
    callbackWaitsForEmptyEventLoop: true,
    functionVersion: env.AWS_LAMBDA_FUNCTION_VERSION,
    functionName: env.AWS_LAMBDA_FUNCTION_NAME,
    memoryLimitInMB: env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
    logGroupName: env.AWS_LAMBDA_LOG_GROUP_NAME,
    logStreamName: env.AWS_LAMBDA_LOG_STREAM_NAME,
    clientContext: parseHeader(headers['lambda-runtime-client-context']),
    identity,
    invokedFunctionArn: headers['lambda-runtime-invoked-function-arn'],
    awsRequestId: headers['lambda-runtime-aws-request-id'],
    getRemainingTimeInMillis: () => deadline - Date.now(),
  };
  if (headers['lambda-runtime-aws-tenant-id']) context.tenantId = headers['lambda-runtime-aws-tenant-id'];
  return context;
}

function serialize(value) {
  let text;
  try {
    text = JSON.stringify(value === undefined ? null : value);
  } catch {
    throw new Error('Unable to stringify response body');
  }
  return text ?? 'null'; // a function or a symbol
}

/**
 * Calls a handler that answers once, by callback or promise. Returns a
 * promise of its result. whenIdle takes a function for when nothing is left
 * to do for the process.
 */
function callBuffered(handler, event, context, whenIdle) {
  return new Promise((resolve, reject) => {
    const settle = (err, result) => {
      if (err !== undefined && err !== null) reject(err);
      else resolve(result);
    };
    let called = false;
    const callback = (err, result) => {
      if (called) return;
      called = true;
      // An error does not wait, nor does a result that is wanted at once.
      if (err || !context.callbackWaitsForEmptyEventLoop) settle(err, result);
      else whenIdle(() => settle(null, result));
    };
    context.done = (err, result) => {
      context.callbackWaitsForEmptyEventLoop = false;
      callback(err, result);
    };
    context.succeed = (result) => context.done(null, result);
    context.fail = (err) => context.done(err ?? 'handled');
    // A handler that never answers: null, once nothing is left to do.
    whenIdle(() => resolve(null));
    const returned = handler(event, context, callback);
    if (typeof returned?.then === 'function') returned.then(resolve, reject);
  });
}

class Invoker {
  #client;
  #handler;
  #env;
  #idle = null;
  /** The invoke in progress: { id, stream }, or null. */
  current = null;

  constructor(client, handler, env) {
    this.#client = client;
    this.#handler = handler;
    this.#env = env;
    process.on('beforeExit', () => {
      const idle = this.#idle;
      this.#idle = null;
      // From the loop, so that the process lives on for what follows.
      if (idle) setImmediate(idle);
    });
  }

  /** Serves events for ever. */
  async serve() {
    for (;;) {
      const { headers, body } = await this.#client.next();
      await this.#invoke(headers, body);
    }
  }

  async #invoke(headers, body) {
    const id = headers['lambda-runtime-aws-request-id'];
    setRequestId(id);
    const trace = headers['lambda-runtime-trace-id'];
    if (trace) this.#env._X_AMZN_TRACE_ID = trace;
    else delete this.#env._X_AMZN_TRACE_ID;

    this.current = { id, stream: null };
    let answer;
    try {
      const context = makeContext(headers, this.#env);
      const event = JSON.parse(body.toString('utf8'));
      if (STREAMING in this.#handler) {
        await this.#stream(event, context);
        this.current = null;
        return;
      }
      answer = serialize(await callBuffered(this.#handler, event, context, (f) => { this.#idle = f; }));
    } catch (err) {
      this.#idle = null;
      logError('Invoke Error', err);
      await this.fail(err);
      return;
    }
    this.#idle = null;
    this.current = null;
    await this.#client.postResponse(id, answer);
  }

  async #stream(event, context) {
    const stream = new ResponseStream(this.#client, context.awsRequestId, this.#handler[STREAMING]);
    this.current.stream = stream;
    const sent = new Promise((resolve, reject) => {
      stream.once('finish', resolve);
      stream.once('error', reject);
    });
    sent.catch(() => {}); // looked at below
    const idle = new Promise((resolve) => { this.#idle = resolve; });
    await Promise.race([this.#handler(event, stream, context), idle]);
    if (!stream.writableEnded) await Promise.race([sent, idle]);
    // A handler that has forgotten to end its answer, with nothing left to do.
    if (!stream.writableEnded) stream.end();
    await sent;
    this.#idle = null;
  }

  /** Ends the invoke in progress with an error. */
  async fail(err) {
    const invoke = this.current;
    this.current = null;
    if (invoke.stream?.closed) return; // too late: it has been answered
    if (invoke.stream?.started) {
      const sent = new Promise((resolve) => { invoke.stream.once('close', resolve); });
      invoke.stream.fail(report(err));
      await sent;
      return;
    }
    await this.#client.postError(invoke.id, report(err));
  }
}

module.exports = { Invoker };
