'use strict';
// Finds the function that a handler string names: "dir/file.export.member".

const fs = require('node:fs');
const path = require('node:path');
const { pathToFileURL } = require('node:url');
const { RuntimeError } = require('./errors.js');

/** Splits a handler string into directory, module and member names. */
function parse(handler) {
  if (handler.includes('..')) {
    throw new RuntimeError('Runtime.MalformedHandlerName',
      `'${handler}' is not a valid handler name. Use absolute paths when specifying root directories in handler names.`);
  }
  const base = path.basename(handler);
  const dir = handler.slice(0, handler.length - base.length);
  const match = /^([^.]+)\.(.+)$/.exec(base);
  if (!match) {
    throw new RuntimeError('Runtime.MalformedHandlerName', 'Bad handler');
  }
  return { dir, name: match[1], members: match[2].split('.') };
}

/** Whether the nearest package.json makes .js files ES modules. */
function isModulePackage(file) {
  for (let dir = path.dirname(file); ; dir = path.dirname(dir)) {
    const manifest = path.join(dir, 'package.json');
    if (fs.existsSync(manifest)) {
      try {
        return JSON.parse(fs.readFileSync(manifest, 'utf8')).type === 'module';
      } catch {
        return false; // node itself says what is wrong with it, if it matters
      }
    }
    if (dir === path.dirname(dir) || path.basename(dir) === 'node_modules') return false;
  }
}

function isFile(file) {
  return fs.statSync(file, { throwIfNoEntry: false })?.isFile() ?? false;
}

async function loadModule(root, dir, name) {
  const file = path.resolve(root, dir, name);
  if (isFile(file)) return require(file); // no extension
  if (isFile(`${file}.js`)) {
    return isModulePackage(`${file}.js`) ? import(pathToFileURL(`${file}.js`)) : require(`${file}.js`);
  }
  if (isFile(`${file}.mjs`)) return import(pathToFileURL(`${file}.mjs`));
  if (isFile(`${file}.cjs`)) return require(`${file}.cjs`);
  // A directory with an index, or a package among the function's or a layer's.
  return require(require.resolve(fs.existsSync(file) ? file : name, { paths: [root, path.resolve(root, dir)] }));
}

/** Loads the function; every way to fail has its word. */
async function loadHandler(root, handler) {
  const { dir, name, members } = parse(handler);
  let loaded;
  try {
    loaded = await loadModule(root, dir, name);
  } catch (err) {
    if (err instanceof SyntaxError) throw new RuntimeError('Runtime.UserCodeSyntaxError', String(err), err);
    if (err?.code === 'MODULE_NOT_FOUND') throw new RuntimeError('Runtime.ImportModuleError', String(err), err);
    throw err;
  }
  let found = loaded;
  for (const member of members) found = found?.[member];
  // What an ES module exports by default may be the object with the handler.
  if (found === undefined) {
    found = loaded.default;
    for (const member of members) found = found?.[member];
  }
  if (found === undefined || found === null) {
    throw new RuntimeError('Runtime.HandlerNotFound', `${handler} is undefined or not exported`);
  }
  if (typeof found !== 'function') {
    throw new RuntimeError('Runtime.HandlerNotFound', `${handler} is not a function`);
  }
  return found;
}

module.exports = { loadHandler };
