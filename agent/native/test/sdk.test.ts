import { spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { installSystemPackages } from '../../../deploy/local/bin/system.mjs';
import { serve, until } from '../../sdk/test/kit.ts';
import { NATIVE, run, scratchFolder } from './build.ts';

await installSystemPackages(['native']);
const { dir, remove } = scratchFolder();
afterAll(remove);

const installed = join(dir, 'installed');
const example = join(NATIVE, 'example/blocking.c');

beforeAll(() => {
  const build = join(dir, 'build');
  run('cmake', [
    '-S',
    NATIVE,
    '-B',
    build,
    '-DCULVERT_AGENT=OFF',
    '-DCULVERT_EXAMPLE=ON',
    '-DCULVERT_WERROR=ON',
    `-DCMAKE_INSTALL_PREFIX=${installed}`,
    '-DCMAKE_INSTALL_LIBDIR=lib',
  ]);
  run('cmake', ['--build', build, '-j2']);
  run('cmake', ['--install', build]);
});

/** The example against a server, with one visitor. */
async function answersVisitors(program: string): Promise<void> {
  const server = await serve();
  const { hostname, port } = new URL(server.url);
  const device = spawn(program, [hostname, port, 'sensor', 'device-token'], { stdio: ['ignore', 'pipe', 'ignore'] });
  onTestFinished(() => {
    device.kill('SIGKILL');
  });
  const control = await server.control(0);
  for (let visitor = 0; visitor < 2; visitor += 1) {
    const peer = await server.transfer(control, 80);
    peer.send('GET / HTTP/1.1\r\n\r\n');
    await until('the page', () => peer.ended);
    expect(peer.received.toString()).toContain('<h1>21.5 &deg;C</h1>');
    peer.end();
    await until('the end', () => peer.closed);
  }
}

describe('the installed library', () => {
  it('is found by pkg-config', async () => {
    const program = join(dir, 'by-pkg-config');
    const flags = run('env', [
      `PKG_CONFIG_PATH=${join(installed, 'lib/pkgconfig')}`,
      'pkg-config',
      '--cflags',
      '--libs',
      'culvert',
    ])
      .trim()
      .split(/\s+/);
    run('gcc', ['-D_GNU_SOURCE', '-std=c99', '-Wall', '-Wextra', '-Werror', example, ...flags, '-o', program]);
    await answersVisitors(program);
  });

  it('is found by CMake', async () => {
    const project = join(dir, 'project');
    run('mkdir', [project]);
    writeFileSync(
      join(project, 'CMakeLists.txt'),
      'cmake_minimum_required(VERSION 3.16)\nproject(device C)\nfind_package(culvert 0.1 REQUIRED)\n' +
        `add_executable(device ${example})\ntarget_compile_definitions(device PRIVATE _GNU_SOURCE)\n` +
        'target_link_libraries(device PRIVATE Culvert::culvert)\n',
    );
    run('cmake', ['-S', project, '-B', join(project, 'build'), `-DCMAKE_PREFIX_PATH=${installed}`]);
    run('cmake', ['--build', join(project, 'build')]);
    await answersVisitors(join(project, 'build/device'));
  });

  it('has an example that can be read at once', () => {
    expect(readFileSync(example, 'utf8').trimEnd().split('\n').length).toBeLessThanOrEqual(120);
  });
});
