/** What may make a `$n` something else than a placeholder: strings, quoted names, several statements, comments. */
const QUOTING = /['"\\;]|--|\/\*/;
/** A dollar quote, or a `$` within a name. */
const OTHER_DOLLAR = /\$(?!\d)|[\w\u0080-\uffff$]\$/;
/** Statements are few and used again; a program that makes up new ones all the time must not fill the memory. */
const MOST_TEMPLATES = 500;

/** Text and numbers of placeholders by turns; undefined where it is not certain what a placeholder is. */
type Template = readonly (string | number)[] | undefined;

const templates = new Map<string, Template>();

/**
 * The statement with its parameters written into it, so that it can share a round trip with others; undefined where that
 * is not certain to mean the same. Each value becomes an untyped literal, which the server resolves as it does a
 * parameter of the same text.
 */
export function inlineParameters(text: string, params: readonly unknown[]): string | undefined {
  const template = templateOf(text);
  if (!template) return undefined;
  let inlined = '';
  for (const part of template) {
    const piece = typeof part === 'string' ? part : literalOf(params, part);
    if (piece === undefined) return undefined;
    inlined += piece;
  }
  return inlined;
}

function templateOf(text: string): Template {
  if (templates.has(text)) return templates.get(text);
  if (templates.size >= MOST_TEMPLATES) templates.clear();
  const template = parse(text);
  templates.set(text, template);
  return template;
}

function parse(text: string): Template {
  if (QUOTING.test(text) || OTHER_DOLLAR.test(text)) return undefined;
  const template = text.split(/\$(\d+)/).map((part, index) => (index % 2 === 0 ? part : Number(part)));
  const places = template.filter((part) => typeof part === 'number');
  // A parameter has one type wherever it stands; two literals would each have their own.
  return new Set(places).size === places.length ? template : undefined;
}

function literalOf(params: readonly unknown[], place: number): string | undefined {
  if (place < 1 || place > params.length) return undefined;
  const value = params[place - 1];
  if (value === null || value === undefined) return 'NULL';
  if (typeof value === 'boolean' || (typeof value === 'number' && Number.isFinite(value))) return ` '${value}'`;
  // A NUL would end the text of all that is sent with it.
  if (typeof value !== 'string' || value.includes('\0')) return undefined;
  const quoted = `'${value.replaceAll("'", "''")}'`;
  // Apart from what stands before it, which may be the beginning of another kind of string: U&'…'.
  return value.includes('\\') ? ` E${quoted.replaceAll('\\', '\\\\')}` : ` ${quoted}`;
}
