'use strict';
// Errors in the form in which callers, logs and the platform get them.

const { types } = require('node:util');

/** An error of the runtime; its name is AWS's word, its stack the cause's. */
class RuntimeError extends Error {
  constructor(name, message, cause) {
    super(message);
    this.name = name;
    this.stack = `${name}: ${cause?.stack ?? message}`;
  }
}

function isError(value) {
  return types.isNativeError(value) ||
    (value instanceof Object && typeof value.name === 'string' && typeof value.message === 'string' && 'stack' in value);
}

function stackLines(error) {
  return typeof error.stack === 'string' ? error.stack.split('\n') : [];
}

/** What the caller gets: { type, body }. */
function report(thrown) {
  let payload;
  try {
    payload = isError(thrown)
      ? { errorType: String(thrown.name), errorMessage: String(thrown.message), trace: stackLines(thrown) }
      : { errorType: typeof thrown, errorMessage: String(thrown), trace: [] };
  } catch {
    payload = {
      errorType: 'handled',
      errorMessage: 'callback called with Error argument, but there was a problem while retrieving one or more of its message, name, and stack',
      trace: [],
    };
  }
  return { type: payload.errorType, body: JSON.stringify(payload) };
}

/** What the log gets: the caller's view with the error's own properties. */
function logged(thrown) {
  try {
    if (!isError(thrown)) {
      return JSON.stringify({ errorType: typeof thrown, errorMessage: String(thrown), stack: [] });
    }
    return JSON.stringify({
      errorType: thrown.name,
      errorMessage: thrown.message,
      ...thrown,
      name: undefined,
      stack: stackLines(thrown),
    }, (_, value) => (isError(value) ? JSON.parse(logged(value)) : value));
  } catch {
    return report(thrown).body;
  }
}

module.exports = { RuntimeError, report, logged, isError, stackLines };
