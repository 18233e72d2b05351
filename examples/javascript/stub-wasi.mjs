// Makes of a component that imports WASI one that imports nothing but `soros:policy/log`. What it
// would call of WASI traps instead, and the call of the policy fails.
//
// The tool's own `--stub-wasi` is not enough: it puts a second component with a memory of its own
// beside the policy, and Soros runs components of one memory. Here the stubs are a core module that
// has none, in the place of the imports.
import { readFile, writeFile } from 'node:fs/promises';
import { parse, print } from '@bytecodealliance/jco-transpile/wasm-tools';

const [from, to] = process.argv.slice(2);
const lines = (await print(await readFile(from))).split('\n');

// The outermost component only passes its imports on to the first one in it, which is the policy.
const begin = lines.findIndex((line) => line.startsWith('  (component '));
const policy = lines.slice(begin, lines.indexOf('  )', begin) + 1);

const NAME = String.raw`(\$"[^"]*"|\$[^\s()]+)`;
const line = (start) => new RegExp(String.raw`^    \(${start.replaceAll('NAME', NAME)}`);
const IMPORT = line('import "([^"]+)" \\(instance NAME');
const TYPE = line('alias export NAME "([^"]+)" \\(type NAME');
const FUNCTION = line('alias export NAME "([^"]+)" \\(func NAME');
const LOWER = line('core func NAME .*\\(canon lower \\(func NAME\\)');
const INSTANCE = line('core instance NAME');
const EXPORT = /^      \(export "([^"]+)" \(func (\$"[^"]*"|\$[^\s()]+)\)\)/;


// How functions are typed, by the module and the name that they are imported under; and by the name
// that they have in the policy.
const signatures = new Map();
const typed = new Map();
// The policy's own names for what is foreign, and for the functions of it.
const foreign = new Set();
let types = [];
let instance = '';
for (const text of policy) {
  if (text.startsWith('    (core module ')) types = [];
  const type = /^      \(type \(;\d+;\) \(func(.*)\)\)$/.exec(text);
  if (type) types.push(type[1]);
  const used = /^      \(import "([^"]+)" "([^"]+)" \(func .*\(type (\d+)\)\)\)$/.exec(text);
  if (used) signatures.set(`${used[1]} ${used[2]}`, types[used[3]]);
  instance = INSTANCE.exec(text)?.[1].slice(1) ?? instance;
  const passed = EXPORT.exec(text);
  if (passed) typed.set(passed[2], signatures.get(`${instance} ${passed[1]}`));
  const imported = IMPORT.exec(text);
  if (imported && !imported[1].startsWith('soros:policy/')) foreign.add(imported[2]);
  const alias = FUNCTION.exec(text);
  if (alias && foreign.has(alias[1])) foreign.add(alias[3]);
}

const stubs = [];
const stubbed = policy.flatMap((text) => {
  const name = (pattern, at) => pattern.exec(text)?.[at];
  if (foreign.has(name(IMPORT, 2)) || foreign.has(name(FUNCTION, 3))) return [];
  if (foreign.has(name(TYPE, 1))) {
    const [, , what, type] = TYPE.exec(text);
    const record = '(record (field "seconds" u64) (field "nanoseconds" u32))';
    return [`(type ${type} ${what === 'datetime' ? record : '(resource (rep i32))'})`];
  }
  if (foreign.has(name(LOWER, 2))) {
    const called = name(LOWER, 1);
    stubs.push(`(func (export "${stubs.length}")${typed.get(called)} unreachable)`);
    return [`(alias core export $stubs "${stubs.length - 1}" (core func ${called}))`];
  }
  return [text];
});
const first = stubbed.findIndex((text) => text.startsWith('    (core module '));
stubbed.splice(first, 0, `(core module $stubs ${stubs.join('\n')})`, '(core instance $stubs (instantiate $stubs))');
stubbed[0] = '(component';
await writeFile(to, await parse(stubbed.join('\n')));
