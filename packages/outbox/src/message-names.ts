import { ConfigurationError } from '@lockstep/core';

const NAME = /^[a-z0-9][a-z0-9._-]{0,63}$/;
/** Topics of Lockstep's own; an application can neither publish to them nor consume them. */
export const OWN_TOPICS = 'lockstep.';
export const NAME_RULE = '1 to 64 lower-case letters, digits, dots, _ and -, beginning with a letter or digit';

export function isName(name: unknown): name is string {
  return typeof name === 'string' && NAME.test(name);
}

/** @throws ConfigurationError naming the option and the value */
export function checkedName(name: unknown, option: string): string {
  if (!isName(name)) throw ConfigurationError.option(option, name, NAME_RULE);
  return name;
}

/** @throws ConfigurationError naming the option and the value */
export function checkedTopic(topic: unknown, option: string): string {
  const name = checkedName(topic, option);
  if (name.startsWith(OWN_TOPICS)) throw ConfigurationError.option(option, name, `no topic below '${OWN_TOPICS}'`);
  return name;
}
