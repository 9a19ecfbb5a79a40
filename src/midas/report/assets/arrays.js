"use strict";
// Arrays out of the page's text: base64, raw deflate (RFC 1951), planes of bytes. The way there is in encode.py.
// Browsers have an inflate of their own only since 2023, and it is asynchronous; this one works in all of them.

const LENGTH_BASE = [3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258];
const LENGTH_EXTRA = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0];
const FAR_BASE = [1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193,
  12289, 16385, 24577];
const FAR_EXTRA = [0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13];
const ORDER = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

// A canonical Huffman code as a table over its longest words, bits reversed as they come: symbol * 16 + length.
function codeTable(lengths) {
  const count = new Uint16Array(16);
  for (const n of lengths) count[n] += 1;
  count[0] = 0;
  const next = new Uint16Array(17);
  let longest = 1;
  for (let n = 1; n < 16; n++) {
    next[n + 1] = (next[n] + count[n]) << 1;
    if (count[n]) longest = n;
  }
  const table = new Int32Array(1 << longest);
  lengths.forEach((n, symbol) => {
    if (!n) return;
    let word = next[n]++, reversed = 0;
    for (let i = 0; i < n; i++, word >>= 1) reversed = (reversed << 1) | (word & 1);
    for (let i = reversed; i < table.length; i += 1 << n) table[i] = symbol * 16 + n;
  });
  return { table, mask: table.length - 1 };
}

function inflate(bytes) {
  let out = new Uint8Array(Math.max(1024, bytes.length * 4)), size = 0, at = 0, held = 0, n = 0;
  const need = (bits) => {
    while (n < bits) { held |= bytes[at++] << n; n += 8; }
  };
  const take = (bits) => {
    need(bits);
    const value = held & ((1 << bits) - 1);
    held >>>= bits; n -= bits;
    return value;
  };
  const symbol = (code) => {
    while (n < 15 && at < bytes.length) { held |= bytes[at++] << n; n += 8; }
    const entry = code.table[held & code.mask], used = entry & 15;
    held >>>= used; n -= used;
    return entry >> 4;
  };
  const room = (more) => {
    if (size + more <= out.length) return;
    const larger = new Uint8Array(Math.max(2 * out.length, size + more));
    larger.set(out.subarray(0, size));
    out = larger;
  };
  const fixed = () => {
    const lengths = Array.from({ length: 288 }, (_, i) => (i < 144 ? 8 : i < 256 ? 9 : i < 280 ? 7 : 8));
    return [codeTable(lengths), codeTable(new Array(30).fill(5))];
  };
  const dynamic = () => {
    const nLiteral = take(5) + 257, nFar = take(5) + 1, nCode = take(4) + 4;
    const first = new Array(19).fill(0);
    for (let i = 0; i < nCode; i++) first[ORDER[i]] = take(3);
    const code = codeTable(first), lengths = [];
    while (lengths.length < nLiteral + nFar) {
      const s = symbol(code);
      if (s < 16) lengths.push(s);
      else {
        const value = s === 16 ? lengths[lengths.length - 1] : 0;
        let times = s === 16 ? 3 + take(2) : s === 17 ? 3 + take(3) : 11 + take(7);
        while (times--) lengths.push(value);
      }
    }
    return [codeTable(lengths.slice(0, nLiteral)), codeTable(lengths.slice(nLiteral))];
  };
  let last = 0;
  while (!last) {
    last = take(1);
    const kind = take(2);
    if (kind === 0) {
      at -= n >> 3; held = 0; n = 0;
      const length = bytes[at] | (bytes[at + 1] << 8);
      room(length);
      out.set(bytes.subarray(at + 4, at + 4 + length), size);
      size += length; at += 4 + length;
      continue;
    }
    const [literal, far] = kind === 1 ? fixed() : dynamic();
    for (;;) {
      const s = symbol(literal);
      if (s < 256) { room(1); out[size++] = s; continue; }
      if (s === 256) break;
      const length = LENGTH_BASE[s - 257] + take(LENGTH_EXTRA[s - 257]), d = symbol(far);
      const back = FAR_BASE[d] + take(FAR_EXTRA[d]);
      room(length);
      for (let i = 0; i < length; i++, size++) out[size] = out[size - back];
    }
  }
  return out.subarray(0, size);
}

function unpackBytes(text) {
  const binary = atob(text), bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return inflate(bytes);
}

const KINDS = { u1: Uint8Array, u2: Uint16Array, i2: Int16Array, f4: Float32Array, f8: Float64Array };

// The values of a packed array as one typed array; logarithmic ones as numbers, NaN where there is none.
function unpack(spec) {
  const planes = unpackBytes(spec.z), kind = KINDS[spec.k], width = kind.BYTES_PER_ELEMENT, n = planes.length / width;
  const mixed = new Uint8Array(planes.length);
  for (let b = 0; b < width; b++) for (let i = 0; i < n; i++) mixed[i * width + b] = planes[b * n + i];
  let values = new kind(mixed.buffer);
  if (spec.d) for (let i = 1; i < n; i++) values[i] += values[i - 1];
  if (spec.log) {
    const [low, high, levels] = spec.log, table = new Float32Array(levels + 2);
    for (let i = 0; i <= levels; i++) table[i] = low * Math.exp((Math.log(high / low) * i) / levels);
    table[levels + 1] = NaN;
    values = Float32Array.from(values, (code) => table[code]);
  }
  if (spec.gap !== undefined) values = Float32Array.from(values, (code) => (code === spec.gap ? NaN : code));
  return values;
}

// Rows of an array of two directions, as plotly takes a map.
function rows(values, height, width, offset = 0) {
  const found = [];
  for (let i = 0; i < height; i++) found.push(values.subarray(offset + i * width, offset + (i + 1) * width));
  return found;
}

// Data with every packed array in it unpacked; those of two directions become rows.
function unpacked(value) {
  if (Array.isArray(value)) return value.map(unpacked);
  if (value === null || typeof value !== "object") return value;
  if (value.z !== undefined && value.k !== undefined && value.n !== undefined) {
    const flat = unpack(value);
    return value.n.length === 2 ? rows(flat, value.n[0], value.n[1]) : flat;
  }
  const found = {};
  for (const key of Object.keys(value)) found[key] = unpacked(value[key]);
  return found;
}
