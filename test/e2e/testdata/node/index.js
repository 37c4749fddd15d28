// The function of the tests: it does what its event asks for.
'use strict';

const crypto = require('crypto');
const fs = require('fs');
const path = require('path');

let count = 0;
const instance = crypto.randomUUID();

class Boom extends Error {
  constructor(message) {
    super(message);
    this.name = 'Boom';
  }
}

const sleep = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

switch (process.env.AT_INIT) {
  case 'raise':
    throw new Boom('no init today');
  case 'exit':
    process.exit(7);
    break;
  case 'sleep':
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 60000);
    break;
  case 'print':
    console.log('said at init');
    break;
  default:
}

const deeds = {
  echo: (event) => event.value,
  nothing: () => undefined,
  fail: () => {
    throw new Boom('it went wrong: ü');
  },
  leave: (event) => process.exit(event.status),
  kill: () => process.kill(process.pid, 'SIGKILL'),
  big: (event) => 'x'.repeat(event.size),
  measure: (event) => event.blob.length,
  sleep: async (event) => {
    console.log(event.say ?? 'sleeping');
    await sleep(event.seconds);
    console.log('slept well');
    return { instance };
  },
  hog: () => {
    const hoard = [];
    for (;;) hoard.push(Buffer.alloc(1 << 20, 1));
  },
  state: () => ({ count: ++count, pid: process.pid, instance }),
  environment: () => process.env,
  describe: (event, context) => ({
    name: context.functionName,
    version: context.functionVersion,
    arn: context.invokedFunctionArn,
    memory: Number(context.memoryLimitInMB),
    id: context.awsRequestId,
    group: context.logGroupName,
    stream: context.logStreamName,
    remaining: context.getRemainingTimeInMillis(),
    custom: context.clientContext?.custom ?? context.clientContext?.Custom ?? null,
  }),
  say: async (event) => {
    for (let i = 0; i < (event.times ?? 1); i++) {
      if (!process.stdout.write(`${event.text}\n`)) await new Promise((resolve) => process.stdout.once('drain', resolve));
    }
  },
  keep: (event) => {
    const block = Buffer.alloc(1 << 20, 0xa5);
    const fd = fs.openSync(`/tmp/${event.name}`, 'w');
    let mb = 0;
    try {
      for (; mb < event.mb; mb++) fs.writeSync(fd, block);
    } catch (e) {
      return { mb, error: e.code };
    } finally {
      fs.closeSync(fd);
    }
    return { mb, error: null };
  },
  files: () => Object.fromEntries(fs.readdirSync('/tmp').filter((name) => name !== 'lost+found')
    .map((name) => [name, fs.statSync(`/tmp/${name}`).size])),
  version: () => fs.readFileSync(path.join(__dirname, 'version'), 'utf8'),
};

exports.handler = async (event, context) => deeds[event.do](event, context);

exports.whole = async (event) => event;

exports.callback = (event, context, callback) => {
  callback(event.fail ? new Boom(event.fail) : null, { called: event.value });
};

exports.stream = globalThis.awslambda.streamifyResponse(async (event, out, context) => {
  out.setContentType('text/plain');
  for (const part of event.parts) {
    out.write(part);
    await sleep(0.01);
  }
  if (event.fail) throw new Boom(event.fail);
  out.end();
});
