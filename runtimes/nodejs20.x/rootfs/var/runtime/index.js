'use strict';
// The Node.js runtime. Run plainly, it serves the function that the
// environment variables name. Run as "index.js prewarm", it first loads
// everything that does not depend on a function, says so, and waits to be
// told which function it is to serve.

const fs = require('node:fs');
const Module = require('node:module');
const { RuntimeClient } = require('./client.js');
const { RuntimeError, report } = require('./errors.js');
const { Invoker } = require('./invoke.js');
const { loadHandler } = require('./load.js');
const { logError, patchConsole } = require('./log.js');
const { defineGlobal } = require('./stream.js');

const ASSIGNMENT_FD = 3;
const READY_FD = 4;
// The statuses with which AWS's runtime ends.
const EXIT_REJECTION = 128;
const EXIT_EXCEPTION = 129;

function readLine(fd) {
  const pieces = [];
  const piece = Buffer.alloc(64 * 1024);
  for (;;) {
    const n = fs.readSync(fd, piece, 0, piece.length, null);
    if (n === 0) return null;
    pieces.push(Buffer.from(piece.subarray(0, n)));
    if (piece[n - 1] === 0x0a) return Buffer.concat(pieces).toString('utf8');
  }
}

/** Blocks until the function is known, then becomes its process. */
async function awaitAssignment() {
  process.argv.length = 2;
  const nodePath = process.env.NODE_PATH;
  // The first import loads the machinery for ES modules.
  await import('data:text/javascript,');
  void process.stdout; // made when it is first used
  fs.writeSync(READY_FD, '\n');
  const line = readLine(ASSIGNMENT_FD);
  if (line === null) process.exit(0); // the sandbox ends unused
  const { env, cwd } = JSON.parse(line);
  fs.closeSync(ASSIGNMENT_FD);
  fs.closeSync(READY_FD);

  // Whoever prewarms starts a process afresh for a function whose variables
  // differ in those that node reads only once. A fresh start's shell sets PWD.
  for (const name of Object.keys(process.env)) delete process.env[name];
  Object.assign(process.env, { NODE_PATH: nodePath }, env, { PWD: cwd });
  process.chdir(cwd);
  Module._initPaths();
}

/** What goes wrong outside a call of the handler ends the process. */
function catchAll(client, getInvoker) {
  const end = (status) => async (err) => {
    logError(status === EXIT_REJECTION ? 'Unhandled Promise Rejection' : 'Uncaught Exception', err);
    const invoker = getInvoker();
    try {
      if (invoker?.current) await invoker.fail(err);
      else if (!invoker) await client.postInitError(report(err));
    } finally {
      process.exit(status);
    }
  };
  process.on('uncaughtException', end(EXIT_EXCEPTION));
  process.on('unhandledRejection', (reason, promise) => {
    const err = new RuntimeError('Runtime.UnhandledPromiseRejection', String(reason));
    err.reason = reason;
    err.promise = promise;
    void end(EXIT_REJECTION)(err);
  });
}

async function main() {
  if (process.argv[2] === 'prewarm') await awaitAssignment();
  const { env } = process;
  patchConsole(env);
  defineGlobal();
  const client = new RuntimeClient(env.AWS_LAMBDA_RUNTIME_API);
  let invoker;
  catchAll(client, () => invoker);
  try {
    invoker = new Invoker(client, await loadHandler(env.LAMBDA_TASK_ROOT, env._HANDLER ?? ''), env);
  } catch (err) {
    logError('Uncaught Exception', err);
    await client.postInitError(report(err));
    process.exit(EXIT_EXCEPTION);
  }
  await invoker.serve();
}

void main();
