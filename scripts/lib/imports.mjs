// Every module that a TypeScript file names, found by a parser: comments and strings name many that it does not import.
import { parseSync } from 'vite';

/** Lists `{ specifier, line, kind }`; kind is `value`, `type` (erased by the compiler) or `dynamic`. */
export function importsOf(file, source) {
  const { program, errors } = parseSync(file, source);
  if (errors.length > 0) throw new Error(`${file} does not parse: ${errors[0].message}`);
  const found = [];
  visit(program, (node) => {
    const named = moduleNamedBy(node);
    if (typeof named?.source?.value !== 'string') return;
    const line = source.slice(0, node.start).split('\n').length;
    found.push({ specifier: named.source.value, line, kind: named.kind });
  });
  return found;
}

function moduleNamedBy(node) {
  switch (node.type) {
    case 'ImportDeclaration':
      return { source: node.source, kind: staticKind(node.importKind) };
    case 'ExportNamedDeclaration':
      return { source: node.source, kind: staticKind(node.exportKind) };
    case 'ExportAllDeclaration':
      return { source: node.source, kind: staticKind(node.exportKind) };
    case 'ImportExpression':
      return { source: node.source, kind: 'dynamic' };
    case 'TSImportType':
      return { source: node.source ?? node.argument?.literal, kind: 'type' };
    case 'TSExternalModuleReference':
      return { source: node.expression, kind: 'value' };
    case 'CallExpression':
      return node.callee.name === 'require' ? { source: node.arguments[0], kind: 'value' } : undefined;
    default:
      return undefined;
  }
}

/** Only `import type …` is erased: of `import { type A }` the compiler keeps `import {}`, which loads the module. */
function staticKind(kind) {
  return kind === 'type' ? 'type' : 'value';
}

function visit(node, found) {
  if (Array.isArray(node)) {
    for (const item of node) visit(item, found);
  } else if (node !== null && typeof node === 'object') {
    if (typeof node.type === 'string') found(node);
    for (const value of Object.values(node)) visit(value, found);
  }
}
