import { join, relative } from 'node:path';
import type { DemoAddresses } from './demo/demo.ts';
import type { StackSettings } from './settings.ts';
import { type StackInfo, stackFilePath } from './stack-file.ts';

/** What people read when everything is ready. */
export function welcome(info: StackInfo, settings: StackSettings, demo: DemoAddresses | undefined): string {
  const stateDir = relative(process.cwd(), settings.stateDir) || '.';
  const shown = stateDir.startsWith('..') ? settings.stateDir : stateDir;
  const option = shown === '.culvert' ? '' : ` --state-dir ${shown}`;
  const ca = info.ca === null ? '' : join(shown, relative(settings.stateDir, info.ca));
  const trust = info.ca === null ? '' : ` --ca-file ${ca}`;
  const demoLines =
    demo === undefined
      ? []
      : [
          `  demo page    ${demo.url}`,
          info.ca === null
            ? `               curl -H 'Host: ${demo.host}' ${info.edge}/`
            : `               curl --cacert ${ca} --connect-to ::${new URL(info.edge).host} ${demo.url}`,
          ...(demo.echo === null ? [] : [`  demo echo    ${demo.echo} (any bytes come back)`]),
        ];
  return [
    '',
    'Culvert is ready.',
    '',
    ...demoLines,
    `  edge         ${info.edge} (devices and visitors, names under ${info.domain})`,
    ...(info.ca === null ? [] : [`  local CA     ${ca} (have clients trust it; its key stays beside it)`]),
    `  dashboard    ${info.admin}/ (log in with adminToken of ${stackFilePath(shown)})`,
    `  admin API    ${info.admin}/docs`,
    `  addresses and secrets for scripts: ${stackFilePath(shown)}`,
    `  logs: ${shown}/logs`,
    '',
    'A device of your own:',
    `  npx culvert${option} device add alice`,
    `  CULVERT_TOKEN=<its token> npx culvert agent --server ${info.edge}${trust} --name alice 80=127.0.0.1:3000`,
    '',
    'Ctrl-C ends everything.',
  ].join('\n');
}
