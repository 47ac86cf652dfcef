// Numbers as people round them; the same rules as `a2bgan.rounding`.

/** Three digits: 0.123, 12.3, 1234. */
export function scoreText(score) {
  return Math.abs(score) >= 100 ? score.toFixed(0) : score.toPrecision(3);
}

/** Three decimals: 0.025. */
export const pText = (p) => p.toFixed(3);

/** Whole percents from 10 on and two digits below: 33 %, 5 %, 2.5 %. */
export function percent(share) {
  const hundredths = 100 * share;
  const rounded = hundredths >= 9.95 ? hundredths.toFixed(0) : Number(hundredths.toPrecision(2));
  return `${rounded}\u00a0%`;
}
