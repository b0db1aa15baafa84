import { engineAnswers } from '../harness/containers.ts';
import { startSystem } from '../harness/start.ts';
import { describeSystem, LIMITS } from '../harness/system-conformance.ts';

const engine = await engineAnswers();
if (!engine)
  console.log('NOT CHECKED: a system of containers, for no Docker engine answers at DOCKER_HOST; processes stand for it');
describeSystem(engine ? 'containers' : 'processes, in the place of containers', () => startSystem({ env: LIMITS }));
