import type { QueryClient } from '@tanstack/react-query';
import { createRootRouteWithContext, createRoute, createRouter, Outlet, redirect } from '@tanstack/react-router';
import { sessionQuery } from './api/queries.ts';
import { Shell } from './app/shell.tsx';
import { AuditPage } from './pages/audit.tsx';
import { DevicePage } from './pages/device/device.tsx';
import { EventsPage } from './pages/events.tsx';
import { FleetPage } from './pages/fleet/fleet.tsx';
import { InstancesPage } from './pages/instances.tsx';
import { LoginPage } from './pages/login.tsx';
import { KeysSection } from './pages/settings/keys.tsx';
import { OperatorsSection } from './pages/settings/operators.tsx';
import { PasswordSection } from './pages/settings/password.tsx';
import { SettingsPage } from './pages/settings/settings.tsx';
import { WebhooksSection } from './pages/settings/webhooks.tsx';
import { Failure, NotFound, Starting } from './ui/states.tsx';

interface Context {
  queries: QueryClient;
}

const text = (value: unknown): string | undefined => (typeof value === 'string' && value !== '' ? value : undefined);

const root = createRootRouteWithContext<Context>()({ component: Outlet, notFoundComponent: NotFound });

const login = createRoute({
  getParentRoute: () => root,
  path: '/login',
  validateSearch: (search: Record<string, unknown>): { to?: string } => {
    const to = text(search.to);
    return to?.startsWith('/') === true && !to.startsWith('//') ? { to } : {};
  },
  component: LoginPage,
});

/** Everything that wants a login. */
const inside = createRoute({
  getParentRoute: () => root,
  id: 'inside',
  beforeLoad: async ({ context: { queries }, location }) => {
    const operator = await queries.ensureQueryData(sessionQuery);
    if (operator === null) throw redirect({ to: '/login', search: location.pathname === '/' ? {} : { to: location.href } });
  },
  pendingComponent: Starting,
  errorComponent: ({ error, reset }) => <Failure error={error} retry={reset} whole />,
  component: Shell,
});

const fleet = createRoute({
  getParentRoute: () => inside,
  path: '/',
  validateSearch: (search: Record<string, unknown>): { q?: string; state?: string } => {
    const q = text(search.q);
    const state = text(search.state);
    return { ...(q === undefined ? {} : { q }), ...(state === undefined ? {} : { state }) };
  },
  component: FleetPage,
});
const device = createRoute({ getParentRoute: () => inside, path: '/devices/$name', component: DevicePage });
const instances = createRoute({ getParentRoute: () => inside, path: '/instances', component: InstancesPage });
const events = createRoute({ getParentRoute: () => inside, path: '/events', component: EventsPage });
const audit = createRoute({ getParentRoute: () => inside, path: '/audit', component: AuditPage });
const settings = createRoute({ getParentRoute: () => inside, path: '/settings', component: SettingsPage });
const settingsIndex = createRoute({
  getParentRoute: () => settings,
  path: '/',
  beforeLoad: () => {
    throw redirect({ to: '/settings/keys' });
  },
});
const keys = createRoute({ getParentRoute: () => settings, path: '/keys', component: KeysSection });
const webhooks = createRoute({ getParentRoute: () => settings, path: '/webhooks', component: WebhooksSection });
const operators = createRoute({ getParentRoute: () => settings, path: '/operators', component: OperatorsSection });
const password = createRoute({ getParentRoute: () => settings, path: '/password', component: PasswordSection });

const tree = root.addChildren([
  login,
  inside.addChildren([
    fleet,
    device,
    instances,
    events,
    audit,
    settings.addChildren([settingsIndex, keys, webhooks, operators, password]),
  ]),
]);

export const createAppRouter = (queries: QueryClient) =>
  createRouter({
    routeTree: tree,
    context: { queries },
    defaultPreload: false,
    defaultStructuralSharing: true,
    scrollRestoration: true,
  });

declare module '@tanstack/react-router' {
  interface Register {
    router: ReturnType<typeof createAppRouter>;
  }
}
