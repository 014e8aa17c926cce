/** `<bytes>:<string>` for each: strings of any content in one argument, which Lua takes apart faster than JSON. */
export function packedList(strings: Iterable<string>): string {
  let packed = '';
  for (const text of strings) packed += `${Buffer.byteLength(text)}:${text}`;
  return packed;
}
