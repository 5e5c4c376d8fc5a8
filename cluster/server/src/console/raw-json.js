// The members of JSON objects as the texts that the server sent. A payload is shown byte for byte: what JSON.parse makes of 12.50, of
// a number beyond 2^53 or of a key given twice is not what was stored.

const SPACE = /[ \t\r\n]*/y;
const STRING = /"(?:[^"\\]|\\[^])*"/y;
const SCALAR = /[^,\]}\s]+/y;

/**
 * @param {RegExp} pattern
 * @param {string} text
 * @param {number} at
 */
function end(pattern, text, at) {
  pattern.lastIndex = at;
  if (!pattern.test(text)) throw new Error(`the answer is no JSON at ${at}`);
  return pattern.lastIndex;
}

/**
 * Where the value that starts at `at` ends. The server sends valid JSON; nesting is counted, not checked.
 *
 * @param {string} text
 * @param {number} at
 */
function valueEnd(text, at) {
  const first = text[at];
  if (first === '"') return end(STRING, text, at);
  if (first !== "{" && first !== "[") return end(SCALAR, text, at);
  let depth = 0;
  for (let i = at; i < text.length; i += 1) {
    const c = text[i];
    if (c === '"') i = end(STRING, text, i) - 1;
    else if (c === "{" || c === "[") depth += 1;
    else if (c === "}" || c === "]") {
      depth -= 1;
      if (depth === 0) return i + 1;
    }
  }
  throw new Error("the answer ends within a value");
}

/**
 * The members of an object, or the values of an array under their numbers, in order, each as its text.
 *
 * @param {string} text
 * @returns {[string, string][]}
 */
export function members(text) {
  /** @type {[string, string][]} */
  const found = [];
  let at = end(SPACE, text, 0);
  const isObject = text[at] === "{";
  const close = isObject ? "}" : "]";
  at = end(SPACE, text, at + 1);
  while (text[at] !== close) {
    let name = String(found.length);
    if (isObject) {
      const after = end(STRING, text, at);
      name = JSON.parse(text.slice(at, after));
      at = end(SPACE, text, end(SPACE, text, after) + 1);
    }
    const after = valueEnd(text, at);
    found.push([name, text.slice(at, after)]);
    at = end(SPACE, text, after);
    if (text[at] === ",") at = end(SPACE, text, at + 1);
    else if (text[at] !== close) throw new Error(`the answer is no JSON at ${at}`);
  }
  return found;
}
