/** Figures in words. */

const NUMBER = new Intl.NumberFormat("en");

/** A number for people; a dash for what is not known. */
export const number = (value) => (value == null ? "–" : NUMBER.format(value));

/** `1 worker`, `2 workers` */
export const counted = (value, word) => `${number(value)} ${word}${value === 1 ? "" : "s"}`;

/** Seconds as `0.4 s`, `12 s`, `3 min`, `2 h 5 min`, `4 d 1 h`. */
export function duration(seconds) {
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  if (seconds < 59.5) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 24 ? joined(hours, "h", minutes % 60, "min") : joined(Math.floor(hours / 24), "d", hours % 24, "h");
}

const joined = (large, largeUnit, small, smallUnit) => `${large} ${largeUnit}${small ? ` ${small} ${smallUnit}` : ""}`;
