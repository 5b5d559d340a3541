// How numbers, sizes and times are written.

const KiB = 1024;
const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/** Writes a count: 12,345. */
export const count = (n) => Number(n).toLocaleString("en");

/** Writes a count of things: 1 key, 2 keys. */
export const things = (n, one, many = one + "s") => `${count(n)} ${n === 1 ? one : many}`;

/** Writes a size in bytes: 1.5 MiB. */
export function bytes(n) {
  let value = Number(n), unit = 0;
  while (value >= KiB && unit < units.length - 1) {
    value /= KiB;
    unit++;
  }
  const digits = unit === 0 || value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return `${Number(value.toFixed(digits)).toLocaleString("en")} ${units[unit]}`;
}

/** Writes how long something takes or is ago, in milliseconds: 2 min 5 s. */
export function span(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  const [d, h, m] = [Math.floor(s / 86400), Math.floor(s / 3600) % 24, Math.floor(s / 60) % 60];
  if (d > 0) return `${d} d ${h} h`;
  if (h > 0) return `${h} h ${m} min`;
  if (m > 0) return `${m} min ${s % 60} s`;
  return `${s} s`;
}

/** Writes how long something took, in milliseconds: 80 ms. */
export const took = (ms) => (ms < 1000 ? `${ms} ms` : span(ms));

/** Writes a point in time, in milliseconds since 1970; with its date when that is not today's. */
export function clock(ms) {
  const at = new Date(ms);
  return at.toDateString() === new Date().toDateString() ? at.toLocaleTimeString() : at.toLocaleString();
}

/** Writes a word of the API in capitals for people: CATCH_UP is catch up. */
export const words = (name) => name.toLowerCase().replaceAll("_", " ");

/** The last bin of sizes, and where it begins. */
const open = 2 ** 63, pebi = 2 ** 50;

/** Lists the bins of sizes from that of one size to that of another, by their largest sizes. */
export function bins(first, last) {
  const all = [];
  for (let size = first; size <= Math.min(last, pebi); size *= 2) all.push(size);
  if (last > pebi) all.push(open);
  return all;
}

/** Names a bin. */
export const bin = (size) => (size > pebi ? `> ${bytes(pebi)}` : `≤ ${bytes(size)}`);
