import { useSyncExternalStore } from 'react';

/** `auto` follows the system. */
export type Theme = 'auto' | 'light' | 'dark';

const KEY = 'culvert.theme';
const THEMES: readonly Theme[] = ['auto', 'light', 'dark'];
const listeners = new Set<() => void>();
const dark = matchMedia('(prefers-color-scheme: dark)');

function read(): Theme {
  try {
    return THEMES.find((theme) => theme === localStorage.getItem(KEY)) ?? 'auto';
  } catch {
    return 'auto'; // storage may be forbidden
  }
}
let theme = read();

function apply(): void {
  if (theme === 'auto') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  for (const listener of listeners) listener();
}

export function startTheme(): void {
  apply();
  dark.addEventListener('change', apply);
}

export function nextTheme(): void {
  theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length] ?? 'auto';
  try {
    localStorage.setItem(KEY, theme);
  } catch {
    // then it holds for this page only
  }
  apply();
}

const subscribe = (listener: () => void): (() => void) => {
  listeners.add(listener);
  return () => listeners.delete(listener);
};
export const useTheme = (): Theme => useSyncExternalStore(subscribe, () => theme);
/** What is seen now: for what is painted by hand. */
export const useIsDark = (): boolean =>
  useSyncExternalStore(subscribe, () => (theme === 'auto' ? dark.matches : theme === 'dark'));
