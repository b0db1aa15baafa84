const SIZES = ['B', 'KiB', 'MiB', 'GiB', 'TiB'] as const;

export function bytes(count: number): string {
  let size = 0;
  let value = count;
  while (value >= 1024 && size < SIZES.length - 1) {
    value /= 1024;
    size += 1;
  }
  return `${value >= 100 || size === 0 ? Math.round(value) : value.toFixed(1)} ${SIZES[size]}`;
}

/** `500 MiB` → bytes; a bare number is bytes. Undefined when it is no size. */
export function bytesOf(text: string): number | undefined {
  const [, number = '', unit = 'B'] = /^\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*$/i.exec(text) ?? [];
  const at = SIZES.findIndex((size) => size[0] === (unit[0] ?? 'B').toUpperCase());
  const exact = unit === '' || /^(?:[kmgt]i?b?|b)$/i.test(unit);
  const value = Math.round(Number(number) * 1024 ** at);
  return number === '' || at === -1 || !exact || value < 1 ? undefined : value;
}

const INTEGER = new Intl.NumberFormat('en');
export const count = (value: number): string => INTEGER.format(value);
export const percent = (share: number): string => `${Math.round(share * 100)} %`;
/** `wind_down` → `wind down`. */
export const words = (code: string): string => code.replaceAll('_', ' ');
