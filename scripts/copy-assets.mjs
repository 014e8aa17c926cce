// Build step: copies what the compiler does not (Lua scripts, SQL migrations) from src to dist.
import { cpSync } from 'node:fs';

const isAsset = (path) => /\.(lua|sql)$/.test(path) || !/\.[a-z]+$/.test(path);
cpSync('src', 'dist', { recursive: true, filter: isAsset });
