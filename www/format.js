// How the console words numbers, times and payloads.

const previewChars = 240;
const previewBytes = 24;
const utf8 = new TextEncoder();

export const utf8Bytes = (text) => utf8.encode(text);

const grouped = new Intl.NumberFormat("en-US");

export const numberText = (n) => grouped.format(n);

export function bytesText(n) {
  if (n < 1024) return `${n} B`;
  const units = ["KiB", "MiB", "GiB"];
  let value = n / 1024;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${Number.isInteger(value) ? value : value.toFixed(value < 10 ? 2 : 1)} ${units[unit]}`;
}

export const exactBytes = (n) => `${grouped.format(n)} ${n === 1 ? "byte" : "bytes"}`;
export const msText = (ms) => (ms < 10000 ? `${ms.toFixed(1)} ms` : `${(ms / 1000).toFixed(1)} s`);

export function clockText(date) {
  const two = (n) => String(n).padStart(2, "0");
  const ms = String(date.getMilliseconds()).padStart(3, "0");
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${ms}`;
}

export function textPreview(text) {
  if (text === "") return "(empty)";
  if (text.length <= previewChars) return text;
  const cut = text.charCodeAt(previewChars - 1);
  const end = cut >= 0xd800 && cut <= 0xdbff ? previewChars - 1 : previewChars;
  return `${text.slice(0, end)}…`;
}

export function hexPreview(bytes) {
  if (bytes.length === 0) return "(empty)";
  const hex = Array.from(bytes.subarray(0, previewBytes), (b) => b.toString(16).padStart(2, "0"));
  return hex.join(" ") + (bytes.length > previewBytes ? " …" : "");
}

// FNV-1a, 32 bits: enough to know an echo from another message, not to prove anything.
export function digest(bytes) {
  let hash = 0x811c9dc5;
  for (let i = 0; i < bytes.length; i += 1) hash = Math.imul(hash ^ bytes[i], 0x01000193);
  return (hash >>> 0).toString(16).padStart(8, "0");
}
