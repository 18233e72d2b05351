// A policy: values are JSON objects with a title that is not too long.
import log from "soros:policy/log@1.0.0";

const schema = {
  type: "object",
  properties: { max: { type: "integer", minimum: 1, default: 80 } },
  additionalProperties: false,
};

let max = 80;

/** What is wrong with a config, as a list of problems. */
function problems(config) {
  const unknown = Object.keys(config).filter((name) => name !== "max");
  const all = unknown.map((name) => ({ path: `/${name}`, message: "it means nothing here" }));
  if (config.max !== undefined && !(Number.isInteger(config.max) && config.max > 0)) {
    all.push({ path: "/max", message: "it is no whole number from 1 on" });
  }
  return all;
}

/** The text that these bytes are. Bytes that are not UTF-8 throw; QuickJS has no TextDecoder. */
function decoded(bytes) {
  let raw = "";
  for (let at = 0; at < bytes.length; at += 4096) {
    raw += String.fromCharCode.apply(null, bytes.subarray(at, at + 4096));
  }
  return /[\x80-\xff]/.test(raw) ? decodeURIComponent(escape(raw)) : raw;
}

function refuse(code, message, pointer) {
  return { tag: "refuse", val: { code, message, pointer } };
}

function verdict(change) {
  let value;
  try {
    value = JSON.parse(decoded(change.value));
  } catch {
    return refuse("not-json", "the value is not JSON", null);
  }
  const title = value?.title;
  if (typeof title !== "string" || title.trim() === "") {
    return refuse("untitled", "a title is missing", "/title");
  }
  if (title.length > max) {
    return refuse("long-title", `the title has more than ${max} characters`, "/title");
  }
  return { tag: "accept" };
}

export const validator = {
  describe() {
    return { name: "titled-js", version: "0.1.0", configSchema: JSON.stringify(schema) };
  },

  configure(text) {
    const config = JSON.parse(text);
    const found = problems(config);
    if (found.length > 0) {
      throw found;
    }
    max = config.max ?? 80;
    log.write("debug", `titles have at most ${max} characters`);
    return { prefixes: [], current: false, deletes: false, valueBytesMax: 4096 };
  },

  check(changes) {
    return changes.map(verdict);
  },
};
