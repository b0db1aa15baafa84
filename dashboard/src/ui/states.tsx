import { Link } from '@tanstack/react-router';
import type { ReactNode } from 'react';
import { ApiError, textOf } from '../api/client.ts';
import { Icon, Logo } from './icons.tsx';

export function Starting() {
  return (
    <div className="whole" role="status">
      <Logo />
      <p>Asking the server …</p>
    </div>
  );
}

/** What could not be read, why, and what to do. */
export function Failure({ error, retry, whole = false }: { error: unknown; retry?: () => void; whole?: boolean }) {
  const code = error instanceof ApiError && error.status !== 0 ? `${error.status} ${error.code}` : '';
  return (
    <div className={whole ? 'whole' : 'state'} role="alert">
      <Icon name="warning" />
      <p>{textOf(error)}</p>
      {code === '' ? null : <p className="muted">{code}</p>}
      {retry === undefined ? null : (
        <button type="button" className="button" onClick={retry}>
          Try again
        </button>
      )}
    </div>
  );
}

export function Empty({ title, children }: { title: string; children?: ReactNode }) {
  return (
    <div className="state">
      <p className="state-title">{title}</p>
      {children === undefined ? null : <div className="muted">{children}</div>}
    </div>
  );
}

export function Loading({ what, lines = 4 }: { what: string; lines?: number }) {
  return (
    <div className="loading" role="status" aria-label={`${what} is being read`}>
      {Array.from({ length: lines }, (_, line) => `line-${line}`).map((key) => (
        <i key={key} aria-hidden="true" />
      ))}
    </div>
  );
}

export function NotFound() {
  return (
    <div className="whole">
      <h1>There is no such page</h1>
      <Link to="/" className="button">
        To the fleet
      </Link>
    </div>
  );
}
