import { Link, Outlet } from '@tanstack/react-router';
import { useMay } from '../../app/session.ts';

const SECTIONS = [
  { to: '/settings/keys', name: 'Enrolment keys', role: 'viewer' },
  { to: '/settings/webhooks', name: 'Webhooks', role: 'operator' },
  { to: '/settings/operators', name: 'Operators', role: 'admin' },
  { to: '/settings/password', name: 'Your password', role: 'viewer' },
] as const;

/** What holds for the whole system, beside its devices. */
export function SettingsPage() {
  const may = { viewer: true, operator: useMay('operator'), admin: useMay('admin') };
  return (
    <div className="page">
      <div className="page-head">
        <h1>Settings</h1>
        <nav className="tabs" aria-label="Settings">
          {SECTIONS.filter(({ role }) => may[role]).map(({ to, name }) => (
            <Link key={to} to={to} className="nav-link">
              {name}
            </Link>
          ))}
        </nav>
      </div>
      <Outlet />
    </div>
  );
}
