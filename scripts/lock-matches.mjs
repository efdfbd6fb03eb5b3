// Exit 0 when node_modules holds what package-lock.json asks for (after an `npm install` by hand), so that setup
// need not install it all again. npm keeps its own account of what it installed in node_modules/.package-lock.json.
import { readFileSync } from 'node:fs';

const packages = (file) => JSON.parse(readFileSync(file, 'utf8')).packages;
try {
  const wanted = packages('package-lock.json');
  const found = packages('node_modules/.package-lock.json');
  const same = Object.entries(wanted).every(
    ([path, { version, optional, devOptional }]) =>
      path === '' || found[path]?.version === version || (!found[path] && (optional || devOptional)),
  );
  process.exitCode = same && Object.keys(found).every((path) => path in wanted) ? 0 : 1;
} catch {
  process.exitCode = 1;
}
