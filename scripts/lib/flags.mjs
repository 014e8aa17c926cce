// Flags are checked before anything is installed or built: a mistyped one must not cost minutes, nor pass unseen.
import { parseArgs } from 'node:util';

/**
 * What is wrong with the arguments, in a sentence; undefined when nothing is. A flag is `{ type: 'boolean' }`,
 * `{ type: 'string' }`, or a whole number: `{ type: 'string', min: 1 }`.
 */
export function flagProblem(args, flags) {
  const options = Object.fromEntries(Object.entries(flags).map(([name, { type }]) => [name, { type }]));
  let values;
  try {
    ({ values } = parseArgs({ args, options }));
  } catch (error) {
    return `${error.message.split(/\. |\n/)[0].replace(/\.$/, '')}.`;
  }
  const wrong = Object.entries(values).find(([name, value]) => !isAllowed(value, flags[name]));
  if (wrong === undefined) return undefined;
  const [name, value] = wrong;
  return `--${name} takes a whole number from ${flags[name].min}, not '${value}'.`;
}

function isAllowed(value, { min }) {
  return min === undefined || (/^\d+$/.test(value) && Number.isSafeInteger(Number(value)) && Number(value) >= min);
}
