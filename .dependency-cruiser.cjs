// The layers of the repository. test/checks/layers.test.ts proves on seeded breaches that this check looks.

/** What the source of each package may import of this repository, besides itself. */
const LAYERS = {
  'libs/contracts': [],
  'libs/wire': ['libs/contracts'],
  'libs/relay': ['libs/contracts', 'libs/wire'],
  'libs/bus': ['libs/contracts'],
  'libs/lease-store': ['libs/contracts'],
  'libs/events': ['libs/contracts', 'libs/bus'],
  'libs/service-kit': ['libs/contracts', 'libs/bus'],
  'services/lease-manager': ['libs/(?!events)'],
  'services/port-allocator': ['libs/(?!events)'],
  'services/ws-ingress': ['libs/(?!lease-store|events)'],
  'services/tcp-listener': ['libs/(?!lease-store|events)'],
  'services/admin': ['libs/(?!lease-store|events)'],
  'agent/sdk': ['libs/contracts', 'libs/wire', 'libs/relay'],
  'agent/cli': ['libs/contracts', 'agent/sdk'],
  openresty: ['libs/contracts'],
  dashboard: ['libs/contracts'], // what admin answers reaches it by HTTP only
  'deploy/local': ['libs/contracts', 'libs/service-kit', 'openresty'],
};
const OURS = '^(?:libs|services|agent|openresty|deploy|dashboard|test)/';

/** Packages from npm that a library is made of; more would pull I/O or weight into everything above. */
const PACKAGES = {
  'libs/contracts': '(?!)',
  'libs/wire': '^bufferutil$', // masks bytes faster than JavaScript can
  'libs/bus': '^(?:typebox|@nats-io/[^/]+)$',
  'libs/events': '^@nats-io/[^/]+$',
  'libs/lease-store': '^ioredis$',
};

const layerRules = Object.entries(LAYERS).map(([folder, allowed]) => ({
  name: `layer-${folder.replaceAll('/', '-')}`,
  comment: `${folder} imports ${allowed.length === 0 ? 'nothing of this repository' : `only ${allowed.join(', ')}`}`,
  severity: 'error',
  from: { path: `^${folder}/(?:src|bin)/` },
  to: { path: OURS, pathNot: [folder, ...allowed].map((path) => `^${path}${path.endsWith(')') ? '' : '/'}`) },
}));

const packageRules = Object.entries(PACKAGES).map(([folder, allowed]) => ({
  name: `packages-${folder.replaceAll('/', '-')}`,
  severity: 'error',
  from: { path: `^${folder}/src/` },
  to: {
    dependencyTypesNot: ['core', 'local', 'localmodule', 'aliased', 'aliased-workspace'],
    pathNot: [OURS, `node_modules/(?:${allowed.replace(/^\^|\$$/g, '')})/`],
  },
}));

module.exports = {
  forbidden: [
    ...layerRules,
    ...packageRules,
    {
      name: 'wire-does-no-io',
      comment: 'the protocol is handed bytes, time and randomness',
      severity: 'error',
      from: { path: '^libs/(?:wire|contracts)/src/' },
      to: { dependencyTypes: ['core'], pathNot: '^(?:node:)?(?:buffer|crypto|assert|module)$' },
    },
    {
      name: 'no-cycles',
      severity: 'error',
      from: {},
      to: { circular: true },
    },
    {
      name: 'no-undeclared-packages',
      comment: 'what a package imports stands in its own package.json',
      severity: 'error',
      from: { path: '^(?:libs|services|agent|openresty|deploy|dashboard)/.*(?:src|bin)/' },
      to: { dependencyTypes: ['npm-no-pkg', 'npm-unknown', 'unknown'] },
    },
    {
      name: 'no-unresolvable',
      severity: 'error',
      from: {},
      to: { couldNotResolve: true },
    },
    {
      name: 'no-test-code-in-sources',
      severity: 'error',
      from: { path: '^(?:libs|services|agent|openresty|deploy|dashboard)/.*(?:src|bin)/' },
      to: { path: '^test/|/test/|node_modules/vitest/' },
    },
  ],
  options: {
    parser: 'swc',
    tsPreCompilationDeps: true,
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '/(?:dist|coverage)/|[.]d[.]m?ts$' },
    preserveSymlinks: false,
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'node', 'default'],
      extensions: ['.ts', '.mts', '.mjs', '.js', '.json'],
    },
  },
};
