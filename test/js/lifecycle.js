// Takes a function through its whole life with the JavaScript SDK.
//
// Usage: node lifecycle.js DIR, where DIR holds 1.zip and 2.zip, two versions
// of the Node.js function of the end-to-end tests. The environment says where
// Hearth is, and NODE_PATH where the SDK is.
'use strict';

const assert = require('assert/strict');
const crypto = require('crypto');
const fs = require('fs');
const path = require('path');
const sdk = require('@aws-sdk/client-lambda');

const name = 'javascript';
const role = 'arn:aws:iam::000000000000:role/hearth-function';
const client = new sdk.LambdaClient({ maxAttempts: 1 });
const quick = { client, minDelay: 1, maxDelay: 1, maxWaitTime: 180 };

const sha = (archive) => crypto.createHash('sha256').update(archive).digest('base64');

async function invoke(event, more = {}) {
  const answer = await client.send(new sdk.InvokeCommand({ FunctionName: name, Payload: JSON.stringify(event), ...more }));
  assert.equal(answer.StatusCode, 200);
  assert.equal(answer.ExecutedVersion, '$LATEST');
  const text = answer.Payload.transformToString();
  assert.equal(answer.FunctionError, undefined, text);
  return { value: JSON.parse(text), answer };
}

async function create(archive) {
  const made = await client.send(new sdk.CreateFunctionCommand({
    FunctionName: name, Runtime: 'nodejs20.x', Role: role, Handler: 'index.handler',
    Code: { ZipFile: archive }, Description: 'first', Tags: { stage: 'test' },
  }));
  assert.equal(made.State, 'Pending');
  assert.equal(made.CodeSha256, sha(archive));
  await sdk.waitUntilFunctionActiveV2(quick, { FunctionName: name });
  assert.equal((await invoke({ do: 'version' })).value, '1');
}

async function updateCode(archive) {
  const changed = await client.send(new sdk.UpdateFunctionCodeCommand({ FunctionName: name, ZipFile: archive }));
  assert.equal(changed.CodeSha256, sha(archive));
  await sdk.waitUntilFunctionUpdatedV2(quick, { FunctionName: name });
  assert.equal((await invoke({ do: 'version' })).value, '2');
}

async function updateConfiguration() {
  const before = await client.send(new sdk.GetFunctionConfigurationCommand({ FunctionName: name }));
  const change = { FunctionName: name, RevisionId: before.RevisionId, MemorySize: 320, Timeout: 7 };
  await client.send(new sdk.UpdateFunctionConfigurationCommand({ ...change, Environment: { Variables: { COLOUR: 'blaßrosa' } } }));
  await sdk.waitUntilFunctionUpdatedV2(quick, { FunctionName: name });
  await assert.rejects(client.send(new sdk.UpdateFunctionConfigurationCommand(change)), sdk.PreconditionFailedException);
  const after = await client.send(new sdk.GetFunctionConfigurationCommand({ FunctionName: name }));
  assert.deepEqual([after.MemorySize, after.Timeout, after.Description], [320, 7, 'first']);
  const { value } = await invoke({ do: 'environment' });
  assert.deepEqual([value.COLOUR, value.AWS_LAMBDA_FUNCTION_MEMORY_SIZE], ['blaßrosa', '320']);
}

async function download(archive) {
  const found = await client.send(new sdk.GetFunctionCommand({ FunctionName: name }));
  assert.deepEqual(found.Tags, { stage: 'test' });
  const body = Buffer.from(await (await fetch(found.Code.Location)).arrayBuffer());
  assert.equal(sha(body), found.Configuration.CodeSha256);
  assert.ok(body.equals(archive));
}

async function listAll(archive) {
  await client.send(new sdk.CreateFunctionCommand({
    FunctionName: `${name}-2`, Runtime: 'nodejs20.x', Role: role, Handler: 'index.handler', Code: { ZipFile: archive },
  }));
  const names = [];
  for await (const page of sdk.paginateListFunctions({ client, pageSize: 1 }, {})) {
    assert.ok(page.Functions.length <= 1);
    names.push(...page.Functions.map((f) => f.FunctionName));
  }
  assert.deepEqual(names.filter((n) => n.startsWith(name)), [name, `${name}-2`]);
  await client.send(new sdk.DeleteFunctionCommand({ FunctionName: `${name}-2` }));
}

async function tags() {
  const { FunctionArn: Resource } = await client.send(new sdk.GetFunctionConfigurationCommand({ FunctionName: name }));
  const list = async () => (await client.send(new sdk.ListTagsCommand({ Resource }))).Tags;
  await client.send(new sdk.TagResourceCommand({ Resource, Tags: { team: 'fire & flame', stage: 'prod' } }));
  assert.deepEqual(await list(), { team: 'fire & flame', stage: 'prod' });
  await client.send(new sdk.UntagResourceCommand({ Resource, TagKeys: ['stage'] }));
  assert.deepEqual(await list(), { team: 'fire & flame' });
}

async function kindsOfInvoke() {
  const dry = await client.send(new sdk.InvokeCommand({ FunctionName: name, InvocationType: 'DryRun' }));
  assert.equal(dry.StatusCode, 204);
  const { answer } = await invoke({ do: 'say', text: 'hello log' }, { LogType: 'Tail' });
  const log = Buffer.from(answer.LogResult, 'base64').toString();
  for (const line of ['START RequestId: ', 'hello log\n', 'END RequestId: ', 'REPORT RequestId: ']) assert.ok(log.includes(line), log);
  const context = Buffer.from(JSON.stringify({ custom: { k: 'v' } })).toString('base64');
  const described = await invoke({ do: 'describe' }, { ClientContext: context });
  assert.deepEqual(described.value.custom, { k: 'v' });
  assert.equal(described.value.id, described.answer.$metadata.requestId);
  const failed = await client.send(new sdk.InvokeCommand({ FunctionName: name, Payload: '{"do":"fail"}' }));
  assert.equal(failed.FunctionError, 'Unhandled');
}

async function streamed(event) {
  const answer = await client.send(new sdk.InvokeWithResponseStreamCommand({ FunctionName: name, Payload: JSON.stringify(event), LogType: 'Tail' }));
  assert.equal(answer.StatusCode, 200);
  assert.equal(answer.ExecutedVersion, '$LATEST');
  const chunks = [];
  let end = null;
  for await (const { PayloadChunk, InvokeComplete } of answer.EventStream) {
    assert.equal(end, null);
    if (PayloadChunk) chunks.push(Buffer.from(PayloadChunk.Payload));
    else end = InvokeComplete;
  }
  return { payload: Buffer.concat(chunks).toString(), end };
}

async function stream() {
  const { payload, end } = await streamed({ do: 'echo', value: 'whole' });
  assert.equal(payload, '"whole"');
  assert.equal(end.ErrorCode, undefined);
  assert.ok(Buffer.from(end.LogResult, 'base64').toString().includes('REPORT RequestId: '));
  const failed = await streamed({ do: 'fail' });
  assert.equal(failed.end.ErrorCode, 'Unhandled');
  assert.equal(failed.end.ErrorDetails, failed.payload);
}

async function remove() {
  await client.send(new sdk.DeleteFunctionCommand({ FunctionName: name }));
  for (const Command of [sdk.GetFunctionCommand, sdk.InvokeCommand, sdk.DeleteFunctionCommand]) {
    await assert.rejects(client.send(new Command({ FunctionName: name })), (e) => {
      assert.ok(e instanceof sdk.ResourceNotFoundException, e);
      assert.equal(e.$metadata.httpStatusCode, 404);
      return true;
    });
  }
}

async function main() {
  const [first, second] = ['1.zip', '2.zip'].map((file) => fs.readFileSync(path.join(process.argv[2], file)));
  await create(first);
  await updateCode(second);
  await updateConfiguration();
  await download(second);
  await listAll(first);
  await tags();
  await kindsOfInvoke();
  await stream();
  await remove();
  console.log('@aws-sdk/client-lambda', require('@aws-sdk/client-lambda/package.json').version, 'ok');
}

main().catch((e) => {
  console.error(e);
  process.exit(1);
});
