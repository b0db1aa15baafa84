import type { Page } from 'playwright-core';

/** How quick the fleet page is; times in milliseconds. */
export interface PageFigures {
  firstPaintMs: number;
  /** From the navigation until every device is counted and the first rows are painted. */
  listedMs: number;
  /** From each key to the painted result. */
  searchMs: number[];
  orderMs: number;
  endMs: number;
  deviceMs: number;
  /** Rows in the document, however many devices there are. */
  rows: number;
  listKiB: number;
  heapMiB: number;
}

/**
 * Runs in the page: does something, and waits until what it shows is painted. A frame that is under way may still be of before, so
 * the one after it is waited for.
 */
const IN_PAGE = `
  globalThis.untilPainted = (act, done) => new Promise((resolve, reject) => {
    const from = performance.now();
    act();
    const look = () => {
      if (done()) requestAnimationFrame(() => resolve(performance.now() - from));
      else if (performance.now() - from > 30000) reject(new Error('nothing is painted after 30 s'));
      else requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
  });
  globalThis.search = (text) => {
    const input = document.querySelector('input[type=search]');
    Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value').set.call(input, text);
    input.dispatchEvent(new Event('input', { bubbles: true }));
  };
  globalThis.counted = () => document.querySelector('.list-card [role=status]').textContent;
  globalThis.firstName = () => document.querySelector('.devices .rows .row a')?.textContent ?? '';
`;

/** `names` are all devices there are, in order. */
export async function measureFleetPage(page: Page, admin: string, names: readonly string[]): Promise<PageFigures> {
  const all = names.length.toLocaleString('en');
  const ask = <T>(script: string): Promise<T> => page.evaluate(script) as Promise<T>;
  await page.addInitScript(`
    const look = () => {
      const counted = document.querySelector('.list-card [role=status]')?.textContent === '${all}';
      if (counted && document.querySelector('.devices .rows .row a') !== null) requestAnimationFrame(() => { globalThis.listedAt = performance.now(); });
      else requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
  `);
  await page.goto(`${admin}/`);
  await page.locator('.list-card [role=status]').getByText(all, { exact: true }).waitFor();
  await page.locator('.devices .rows .row a').first().waitFor();
  const listedMs = await ask<number>(
    'new Promise((done) => { const look = () => (globalThis.listedAt === undefined ? requestAnimationFrame(look) : done(listedAt)); look(); })',
  );
  const firstPaintMs = await ask<number>(`performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0`);
  const listKiB = await ask<number>(
    `performance.getEntriesByType('resource').find(({ name }) => name.endsWith('/v1/fleet/devices')).encodedBodySize / 1024`,
  );
  await ask(IN_PAGE);
  const searchMs: number[] = [];
  for (const share of [0.1, 0.5, 0.9]) {
    const name = names[Math.floor(names.length * share)] ?? '';
    for (let length = name.length - 4; length <= name.length; length += 1) {
      const typed = name.slice(0, length);
      const fits = names.filter((one) => one.includes(typed));
      const expected = fits.length === names.length ? all : `${fits.length.toLocaleString('en')} of ${all}`;
      const done = `counted() === '${expected}' && firstName() === '${fits[0]}'`;
      searchMs.push(await ask(`untilPainted(() => search('${typed}'), () => ${done})`));
    }
    await ask(`untilPainted(() => search(''), () => counted() === '${all}')`);
  }
  const last = names.at(-1);
  const header = `document.querySelector('.devices .head button')`;
  const orderMs = await ask<number>(`untilPainted(() => ${header}.click(), () => firstName() === '${last}')`);
  await ask(`untilPainted(() => ${header}.click(), () => firstName() === '${names[0]}')`);
  const atEnd = `[...document.querySelectorAll('.devices .rows .row a')].some(({ textContent }) => textContent === '${last}')`;
  const endMs = await ask<number>(`untilPainted(() => scrollTo(0, document.body.scrollHeight), () => ${atEnd})`);
  const rows = await ask<number>(`document.querySelectorAll('.devices .rows .row').length`);
  const heapMiB = await ask<number>('(performance.memory?.usedJSHeapSize ?? 0) / 2 ** 20');
  const click = `[...document.querySelectorAll('.devices .rows .row a')].at(-1).click()`;
  const deviceMs = await ask<number>(
    `untilPainted(() => ${click}, () => document.querySelector('.endpoints li, .state-title') !== null)`,
  );
  return { firstPaintMs, listedMs, searchMs, orderMs, endMs, deviceMs, rows, listKiB, heapMiB };
}
