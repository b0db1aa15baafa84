import { ContainerSystem } from '../harness/containers.ts';
import { describeSystem, LIMITS } from '../harness/system-conformance.ts';

describeSystem('containers', () => ContainerSystem.start({ env: LIMITS }));
