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

const INTEGER = new Intl.NumberFormat('en');
export const count = (value: number): string => INTEGER.format(value);
export const percent = (share: number): string => `${Math.round(share * 100)} %`;
/** `wind_down` → `wind down`. */
export const words = (code: string): string => code.replaceAll('_', ' ');
