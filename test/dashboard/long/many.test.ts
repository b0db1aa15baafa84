import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { registerDevices } from '../../harness/registration.ts';
import { measureFleetPage } from '../quickness.ts';
import { logIn, type Scene, startScene } from '../scene.ts';

vi.setConfig({ testTimeout: 180_000 });

const DEVICES = 10_000;
const NAMES = Array.from({ length: DEVICES }, (_, at) => `device-${String(at).padStart(5, '0')}`);
let scene: Scene;

beforeAll(async () => {
  scene = await startScene();
  await registerDevices(scene.stack.info, NAMES);
}, 400_000);
afterAll(() => scene?.stop());

it(`lists, searches and orders ${DEVICES} devices with a few rows in the page, and asks the server for nothing while it does`, async () => {
  const page = await scene.page();
  await logIn(page, scene.stack);
  const asked: string[] = [];
  let navigations = 0;
  page.on('request', (request) => {
    if (request.isNavigationRequest() && ++navigations === 1) asked.length = 0; // what the page of the login may still have asked for is not counted
    asked.push(new URL(request.url()).pathname);
  });
  const figures = await measureFleetPage(page, scene.stack.info.admin, NAMES);
  console.log(figures);
  expect(figures.rows).toBeLessThan(80);
  expect(asked.filter((path) => path === '/v1/fleet/devices')).toHaveLength(1);
  expect(asked.filter((path) => path === '/v1/devices')).toEqual([]);
  expect(scene.faults).toEqual([]);
});
