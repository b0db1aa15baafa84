/** Drawn on 20 × 20, in the colour of the text. */
const PATHS = {
  fleet: 'M3 4h6v5H3zM11 4h6v5h-6zM3 11h6v5H3zM11 11h6v5h-6z',
  instances: 'M3 4h14v5H3zM3 11h14v5H3zM6 6.5h.01M6 13.5h.01',
  events: 'M2 10h4l2-6 4 12 2-6h4',
  audit: 'M5 2h7l4 4v12H5zM12 2v4h4M8 10h5M8 13h5',
  settings: 'M3 6h8M15 6h2M3 14h2M9 14h8M13 4a2 2 0 1 0 0 4 2 2 0 0 0 0-4M7 12a2 2 0 1 0 0 4 2 2 0 0 0 0-4',
  edit: 'M4 16l1-4 8-8 3 3-8 8zM11 6l3 3',
  key: 'M6 7a3 3 0 1 0 0 6 3 3 0 0 0 0-6M9 10h9v4M15 10v3',
  send: 'M2 10 18 3l-5 15-4-6zM9 12l9-9',
  keys: 'M2 5h16v10H2zM5 8h.01M8 8h.01M11 8h.01M14 8h.01M6 12h8',
  sun: 'M10 6a4 4 0 1 0 0 8 4 4 0 0 0 0-8M10 1v2M10 17v2M1 10h2M17 10h2M3.6 3.6 5 5M15 15l1.4 1.4M3.6 16.4 5 15M15 5l1.4-1.4',
  moon: 'M16.5 12A7 7 0 0 1 8 3.5 7 7 0 1 0 16.5 12z',
  auto: 'M10 3a7 7 0 1 0 0 14zM10 3a7 7 0 0 1 0 14',
  logout: 'M8 3H3v14h5M13 6l4 4-4 4M17 10H7',
  warning: 'M10 3 1.5 17h17zM10 8v4M10 14.5h.01',
  search: 'M9 3a6 6 0 1 0 0 12A6 6 0 0 0 9 3M13.5 13.5 18 18',
  plus: 'M10 4v12M4 10h12',
  copy: 'M7 7h10v10H7zM13 7V3H3v10h4',
  check: 'M4 10.5 8 14.5 16 5.5',
  cross: 'M5 5l10 10M15 5 5 15',
  skip: 'M5 10h10',
  link: 'M8 12 12 8M9 5l2-2a4 4 0 0 1 6 6l-2 2M11 15l-2 2a4 4 0 0 1-6-6l2-2',
  open: 'M8 4H4v12h12v-4M11 3h6v6M17 3 9 11',
  route: 'M4 16a2 2 0 1 0 0-4 2 2 0 0 0 0 4M16 8a2 2 0 1 0 0-4 2 2 0 0 0 0 4M6 14h5a3 3 0 0 0 0-6H9a2 2 0 0 1 0-2h5',
  lock: 'M5 9h10v8H5zM7 9V6a3 3 0 0 1 6 0v3',
  unlock: 'M5 9h10v8H5zM7 9V6a3 3 0 0 1 5.8-1',
  unplug: 'M7 3v4M13 3v4M5 7h10v3a5 5 0 0 1-10 0zM10 15v3',
  trash: 'M3 5h14M8 5V3h4v2M5 5l1 12h8l1-12M8.5 8v6M11.5 8v6',
  pause: 'M7 4v12M13 4v12',
  play: 'M6 4l10 6-10 6z',
  back: 'M12 4l-6 6 6 6',
  down: 'M10 4v11M5 10l5 5 5-5',
} as const;
export type IconName = keyof typeof PATHS;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg className="icon" viewBox="0 0 20 20" width="18" height="18" aria-hidden="true" focusable="false">
      <path d={PATHS[name]} />
    </svg>
  );
}

export function Logo() {
  return (
    <svg viewBox="0 0 32 32" width="26" height="26" aria-hidden="true" focusable="false" className="logo">
      <rect width="32" height="32" rx="7" />
      <path className="outer" d="M5 23a11 11 0 0 1 22 0" />
      <path className="inner" d="M11 23a5 5 0 0 1 10 0" />
    </svg>
  );
}
