// The dependency-direction check: reads every package.json and every import below src, and lists what breaks the rules.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import { dirname, join, relative, resolve } from 'node:path';
import { mayImport, ownedClients, placedClients, placedImports } from './dependency-rules.mjs';
import { importsOf } from './imports.mjs';

/** Lists the violations, one line each; none means that all imports go one way. */
export function checkDependencies(root) {
  const packages = readPackages(root);
  return packages.flatMap((unit) => {
    if (mayImport[unit.name] === undefined) return [`${unit.manifestFile}: ${unit.name} has no place in the rules`];
    return [...manifestViolations(unit), ...importViolations(root, unit, packages)];
  });
}

function readPackages(root) {
  const folders = readdirSync(join(root, 'packages')).map((name) => join('packages', name));
  return [...folders, 'sample-app']
    .filter((folder) => existsSync(join(root, folder, 'package.json')))
    .map((folder) => {
      const manifestFile = join(folder, 'package.json');
      const manifest = JSON.parse(readFileSync(join(root, manifestFile), 'utf8'));
      return { folder, manifestFile, manifest, name: houseName(manifest.name) ?? manifest.name };
    });
}

/** `@lockstep/lock/redis` → `lock`; undefined for packages of others. */
function houseName(specifier) {
  return /^@lockstep\/([^/]+)/.exec(specifier)?.[1];
}

function manifestViolations({ name, manifest, manifestFile }) {
  const named = [...declared(manifest), ...Object.keys(manifest.devDependencies ?? {})];
  return [...new Set(named)].flatMap((dependency) => {
    const house = houseName(dependency);
    if (house !== undefined && !mayImport[name].includes(house))
      return [`${manifestFile}: ${name} may not depend on ${dependency}`];
    const owner = ownerOf(dependency);
    // An application installs the peers of what it uses; it still may not import them.
    return owner === undefined || owner === name || name === 'sample-app'
      ? []
      : [`${manifestFile}: only ${owner} may depend on ${dependency}`];
  });
}

/** The one package that may know a client; undefined when any may. */
function ownerOf(name) {
  return ownedClients.find(({ client }) => client.test(name))?.owner;
}

function declared(manifest) {
  return ['dependencies', 'peerDependencies', 'optionalDependencies'].flatMap((kind) =>
    Object.keys(manifest[kind] ?? {}),
  );
}

function importViolations(root, unit, packages) {
  const src = join(root, unit.folder, 'src');
  return sourceFiles(src).flatMap((file) => {
    const where = { file: relative(root, file), within: relative(src, file), src, unit, packages };
    return importsOf(file, readFileSync(file, 'utf8')).flatMap((found) => {
      const problem = problemOf(found, where);
      return problem === undefined ? [] : [`${where.file}:${found.line}: ${problem}`];
    });
  });
}

function sourceFiles(folder) {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && /\.[cm]?tsx?$/.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}

function problemOf(found, where) {
  const { specifier } = found;
  if (specifier.startsWith('.')) return relativeProblem(specifier, where);
  if (isBuiltin(specifier)) return undefined;
  const house = houseName(specifier);
  return house === undefined ? clientProblem(found, where) : houseProblem(house, specifier, where);
}

function relativeProblem(specifier, { file, src, unit }) {
  const target = resolve(src, '..', dirname(relative(unit.folder, file)), specifier);
  return relative(src, target).startsWith('..') ? `${specifier} leaves the package's src` : undefined;
}

function houseProblem(house, specifier, { unit, within, packages }) {
  if (!mayImport[unit.name].includes(house)) return `${unit.name} may not import ${specifier}`;
  const placed = placedImports.find((rule) => rule.name === house && rule.by.includes(unit.name));
  if (placed !== undefined && !placed.only.test(within)) return `${specifier} may be imported only in ${placed.where}`;
  if (!declared(unit.manifest).includes(`@lockstep/${house}`))
    return `@lockstep/${house} is not declared in package.json`;
  const target = packages.find((other) => other.name === house);
  const entry = specifier.replace(`@lockstep/${house}`, '.');
  return target?.manifest.exports[entry] === undefined
    ? `${specifier} is not an export of @lockstep/${house}`
    : undefined;
}

function clientProblem({ specifier, kind }, { unit, within }) {
  const client = packageOf(specifier);
  const owner = ownerOf(client);
  if (owner !== undefined && owner !== unit.name) return `only ${owner} may import ${client}`;
  const placed = placedClients.find((rule) => rule.name === client);
  if (placed !== undefined && kind === 'value' && unit.name !== 'sample-app' && !placed.only.test(within)) {
    return `${specifier} is an optional client: import it as a type, by import(), or in its driver`;
  }
  // A type that is only in devDependencies would be missing for users who read our declarations.
  return declared(unit.manifest).includes(client) ? undefined : `${client} is not declared in package.json`;
}

function packageOf(specifier) {
  return specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');
}
