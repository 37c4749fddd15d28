'use strict';
// The console of a function: one line a call, in the text or the JSON format.

const util = require('node:util');
const { isError, logged, stackLines } = require('./errors.js');

const LEVELS = { TRACE: 1, DEBUG: 2, INFO: 3, WARN: 4, ERROR: 5, FATAL: 6 };
const METHODS = { trace: 'TRACE', debug: 'DEBUG', info: 'INFO', log: 'INFO', warn: 'WARN', error: 'ERROR', fatal: 'FATAL' };

let requestId;
let json = false;

/** Sets the request that log lines belong to. */
function setRequestId(id) {
  requestId = id;
}

function textLine(level, args) {
  const message = util.format(...args);
  // A line break would end the log line; a carriage return is shown as one.
  return `${new Date().toISOString()}\t${requestId}\t${level}\t${message}`.replaceAll('\n', '\r');
}

function errorFields(error) {
  return {
    errorType: error?.constructor?.name ?? 'UnknownError',
    errorMessage: error.message,
    stackTrace: stackLines(error),
  };
}

function jsonLine(level, args) {
  const line = { timestamp: new Date().toISOString(), level, requestId };
  if (args.length === 1) {
    const [message] = args;
    try {
      return JSON.stringify({ ...line, message },
        (_, value) => (isError(value) ? { ...errorFields(value), ...value } : value));
    } catch {
      return JSON.stringify({ ...line, message: util.format(message) });
    }
  }
  const error = args.find(isError);
  return JSON.stringify({ ...line, message: util.format(...args), ...(error && errorFields(error)) });
}

/** Makes the console write lines as the function's log settings ask. */
function patchConsole(env) {
  json = env.AWS_LAMBDA_LOG_FORMAT?.toUpperCase() === 'JSON';
  const threshold = LEVELS[env.AWS_LAMBDA_LOG_LEVEL?.toUpperCase()] ?? (json ? LEVELS.INFO : LEVELS.TRACE);
  const format = json ? jsonLine : textLine;
  for (const [method, level] of Object.entries(METHODS)) {
    console[method] = LEVELS[level] < threshold ? () => {} : (...args) => {
      if (method === 'trace') args = withStack(args, console.trace);
      process.stdout.write(`${format(level, args)}\n`);
    };
  }
}

/** Logs what ended an invoke or the process. */
function logError(title, err) {
  if (json) console.error(isError(err) ? err : { errorType: typeof err, errorMessage: String(err), stackTrace: [] });
  else console.error(title, `\t${logged(err)}`);
}

/** The arguments of console.trace with the stack of its caller. */
function withStack(args, below) {
  const trace = { name: 'Trace', message: util.format(...args) };
  Error.captureStackTrace(trace, below);
  return [trace.stack];
}

module.exports = { logError, patchConsole, setRequestId };
