import { useQueryClient } from '@tanstack/react-query';
import { Link, Outlet, useNavigate, useRouterState } from '@tanstack/react-router';
import { useCallback, useEffect, useRef, useState } from 'react';
import { api, textOf } from '../api/client.ts';
import { fleet, useFleet } from '../api/fleet.ts';
import { sessionQuery } from '../api/queries.ts';
import { Icon, Logo } from '../ui/icons.tsx';
import { useSay } from '../ui/toasts.tsx';
import { useMay, useOperator } from './session.ts';
import { ShortcutHelp, useShortcuts } from './shortcuts.tsx';
import { nextTheme, useTheme } from './theme.ts';

const PAGES = [
  { to: '/', name: 'Fleet', icon: 'fleet', admin: false },
  { to: '/instances', name: 'Instances', icon: 'instances', admin: false },
  { to: '/events', name: 'Events', icon: 'events', admin: false },
  { to: '/audit', name: 'Audit', icon: 'audit', admin: true },
  { to: '/settings', name: 'Settings', icon: 'settings', admin: false },
] as const;

/** What all pages stand in: navigation, who is logged in, and whether what is seen is live. */
export function Shell() {
  const [help, setHelp] = useState(false);
  const openHelp = useCallback(() => setHelp(true), []);
  useShortcuts(openHelp);
  useEffect(() => fleet.start(), []);
  const main = useRef<HTMLElement>(null);
  const path = useRouterState({ select: ({ location }) => location.pathname });
  const shown = useRef(path);
  useEffect(() => {
    if (shown.current === path) return;
    shown.current = path;
    main.current?.focus({ preventScroll: true }); // screen readers and keys go on from the new page
  }, [path]);
  const isAdmin = useMay('admin');

  return (
    <div className="shell">
      <a className="skip" href="#main">
        Skip to the content
      </a>
      <header className="top">
        <Link to="/" className="brand" aria-label="Culvert, to the fleet">
          <Logo />
          <span>Culvert</span>
        </Link>
        <nav aria-label="Pages">
          {PAGES.filter(({ admin }) => !admin || isAdmin).map(({ to, name, icon }) => (
            <Link key={to} to={to} activeOptions={{ exact: to === '/', includeSearch: false }} className="nav-link">
              <Icon name={icon} />
              <span>{name}</span>
            </Link>
          ))}
        </nav>
        <div className="top-end">
          <Liveness />
          <ThemeButton />
          <button type="button" className="icon-button only-wide" onClick={openHelp} aria-label="Keys" title="Keys (?)">
            <Icon name="keys" />
          </button>
          <Account />
        </div>
      </header>
      <LostBanner />
      <main id="main" ref={main} tabIndex={-1}>
        <Outlet />
      </main>
      <ShortcutHelp open={help} onOpenChange={setHelp} />
    </div>
  );
}

function Liveness() {
  const { stream } = useFleet();
  const text = { connecting: 'Connecting', open: 'Live', lost: 'Not live' }[stream];
  return (
    <span className={`liveness ${stream}`} role="status">
      <i aria-hidden="true" />
      <span>{text}</span>
    </span>
  );
}

const LOST_MS = 1_500;

/** Said only when it lasts: a stream that is renewed is no news. */
function LostBanner() {
  const { stream } = useFleet();
  const [shown, setShown] = useState(false);
  useEffect(() => {
    if (stream !== 'lost') {
      setShown(false);
      return;
    }
    const timer = setTimeout(() => setShown(true), LOST_MS);
    return () => clearTimeout(timer);
  }, [stream]);
  if (!shown) return null;
  return (
    <div className="banner" role="alert">
      <Icon name="warning" />
      {navigator.onLine
        ? 'The server does not answer. What you see may be out of date; it is asked again and again.'
        : 'This computer is offline. What you see may be out of date.'}
    </div>
  );
}

function ThemeButton() {
  const theme = useTheme();
  const name = { auto: 'as the system', light: 'light', dark: 'dark' }[theme];
  return (
    <button
      type="button"
      className="icon-button"
      onClick={nextTheme}
      aria-label={`Colours: ${name}`}
      title={`Colours: ${name} (t)`}
    >
      <Icon name={theme === 'auto' ? 'auto' : theme === 'dark' ? 'moon' : 'sun'} />
    </button>
  );
}

function Account() {
  const { name, role } = useOperator();
  const queries = useQueryClient();
  const navigate = useNavigate();
  const say = useSay();
  const logOut = async (): Promise<void> => {
    queries.clear();
    queries.setQueryData(sessionQuery.queryKey, null);
    await navigate({ to: '/login' }); // ends the streams of this page before their login is over
    fleet.clear();
    await api('DELETE', '/v1/login').catch((error: unknown) => say('You may still be logged in', textOf(error), true));
  };
  return (
    <span className="account">
      <span className="who" title={`Role: ${role}`}>
        {name} <small>{role}</small>
      </span>
      <button type="button" className="icon-button" onClick={() => void logOut()} aria-label="Log out" title="Log out">
        <Icon name="logout" />
      </button>
    </span>
  );
}
