/** More of one name are ignored: each may cost a look at the store. */
const MOST_VALUES = 3;

/**
 * The values that a Cookie header has for a name, in their order. A browser sends two where a host and its parent domain
 * have a cookie of the same name, and does not say which is whose.
 */
export function cookieValues(header: string | undefined, name: string): string[] {
  const values: string[] = [];
  if (header === undefined) return values;
  let from = header.indexOf(`${name}=`);
  while (from >= 0 && values.length < MOST_VALUES) {
    const begin = from + name.length + 1;
    if (isBegin(header, from)) {
      const end = header.indexOf(';', begin);
      values.push(unquoted(header.slice(begin, end < 0 ? undefined : end).trim()));
    }
    from = header.indexOf(`${name}=`, begin);
  }
  return values;
}

/** Whether a pair begins here: `xsid=` is no `sid=`. */
function isBegin(header: string, at: number): boolean {
  for (let index = at - 1; index >= 0; index -= 1) {
    const character = header[index];
    if (character === ';') return true;
    if (character !== ' ' && character !== '\t') return false;
  }
  return true;
}

function unquoted(value: string): string {
  return value.length > 1 && value.startsWith('"') && value.endsWith('"') ? value.slice(1, -1) : value;
}
