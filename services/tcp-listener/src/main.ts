import type { Socket } from 'node:net';
import { CulvertError } from '@culvert/contracts';
import {
  InstanceRegistration,
  MANY_DESCRIPTORS,
  Reassertion,
  RetiredEdges,
  runService,
  ServedCertificate,
  UsageReport,
  watchCertificate,
  watchFill,
} from '@culvert/service-kit';
import { assertedOf } from './asserted.ts';
import { Canaries } from './canaries.ts';
import { followExpiries, serveCommands } from './commands.ts';
import { ConnEvents } from './conn-events.ts';
import { type Device, newlyMoved } from './device.ts';
import { watchIdle } from './idle.ts';
import { Later } from './later.ts';
import { createMetrics } from './metrics.ts';
import { OperatorRights } from './operator-rights.ts';
import { OperatorVisits } from './operator-visits.ts';
import { PublicPorts } from './public-ports.ts';
import { Reconciler } from './reconcile.ts';
import { Rendezvous } from './rendezvous.ts';
import { faultsOfSettings, SETTINGS } from './settings.ts';
import { SittingOut } from './sitting-out.ts';
import { Tenures } from './tenures.ts';
import { Traces } from './trace.ts';
import { serveTransfers } from './transfer-server.ts';
import { serveVisitor } from './visitor.ts';
import { WarmGrants } from './warm-grants.ts';
import { windDown } from './wind-down.ts';

const SERVICE = 'tcp-listener';

await runService({
  name: SERVICE,
  settings: SETTINGS,
  check: faultsOfSettings,
  needs: ({ CULVERT_TCP_PORTS: ports }) => ({ descriptors: MANY_DESCRIPTORS, connections: true, ports }),
  stopMs: (limits) => limits.WIND_DOWN_MS + limits.STOP_MS,
  async start({ id, config, limits, log, redis, bus, health, tracing, onStop }) {
    const rendezvous = new Rendezvous();
    const ports = new PublicPorts({
      tcpHost: config.CULVERT_TCP_HOST,
      httpHost: config.CULVERT_HTTP_HOST,
      edges: config.CULVERT_EDGE_NETWORKS,
      onVisitor: (socket, publicPort) => onVisitor(socket, publicPort),
      onBlocked: (port, err) => log.warn({ event: 'port.blocked', port, err: err.message }),
    });
    const budget = { waiting: 0 };
    const tenures = new Tenures(ports, log, budget);
    const grants = new WarmGrants(tenures, budget, limits);
    const sum = (count: (device: { visitors: { size: number }; waiting: number }) => number): number => {
      let total = 0;
      for (const device of tenures.devices()) total += count(device);
      return total;
    };
    const metrics = createMetrics(health.registry, {
      before: () => later.flush(),
      visitors: () => sum((device) => device.visitors.size),
      waiting: () => sum((device) => device.waiting),
      ports: () => ports.size,
      tickets: () => rendezvous.size,
      accessTickets: () => visits.tickets,
      handshakes: () => transfers.pending,
      transfers: () => transfers.transfers,
      warm: () => budget.waiting,
      buffered: () => transfers.buffered,
      connEvents: () => events.waiting,
    });
    watchFill(health.registry, {
      conn_events: () => events.waiting / limits.EVENT_RING,
      handshakes: () => transfers.fill,
      warm_transfers: () => budget.waiting / Math.max(1, limits.WARM_PER_LISTENER),
      public_ports: () => ports.size / (config.CULVERT_TCP_PORTS[1] - config.CULVERT_TCP_PORTS[0] + 1),
    });
    const visits: OperatorVisits = new OperatorVisits(limits, tenures, (socket, endpoint, device, front) => {
      if (registration.fence !== undefined) throw new CulvertError('unavailable', 'this listener looks what it still holds');
      return serveVisitor(socket, endpoint, device, deps, front);
    });
    const rights = new OperatorRights(visits, bus, limits.RECHECK_MS, log);
    const certificate = config.CULVERT_TLS_CERT_FILE === '' ? undefined : new ServedCertificate(config, log);
    if (certificate !== undefined) watchCertificate(health.registry, 'transfers', certificate);
    const transfers = await serveTransfers({
      ...{ id, limits, log, metrics, rendezvous, tenures, grants, operators: visits },
      heartbeatMs: config.CULVERT_HEARTBEAT,
      host: config.CULVERT_LISTEN_HOST,
      port: config.CULVERT_LISTEN_PORT,
      published:
        config.CULVERT_TRANSFER_PORT === 0
          ? undefined
          : { host: config.CULVERT_TRANSFER_HOST, port: config.CULVERT_TRANSFER_PORT, certificate },
    });
    const registration = new InstanceRegistration(redis, limits, log, {
      ...{ id, service: SERVICE, address: transfers.address },
      ports: config.CULVERT_TCP_PORTS,
      host: config.CULVERT_HTTP_HOST,
    });
    registration.counts = () => ({
      visitors: sum((device) => device.visitors.size),
      transfers: transfers.transfers,
      public_ports: ports.size,
    });
    const source = { id, incarnation: registration.record.incarnation };
    const events = new ConnEvents(bus, limits, log, metrics.droppedEvents, source);
    const later: Later = new Later(() => void events.flush());
    const canaries = new Canaries({ id, bus, limits, rendezvous, metrics, log });
    const usage = new UsageReport({
      ...{ bus, log, instance: id, incarnation: registration.record.incarnation, everyMs: limits.USAGE_MS },
      collect: () => {
        for (const device of tenures.devices())
          for (const visitor of device.visitors) usage.add(device.name, newlyMoved(visitor));
      },
      onSpent: (name, until, askedAt) => {
        const device = tenures.device(name);
        device?.policy.spent(until, askedAt);
      },
    });
    usage.start();
    const idle = watchIdle(tenures, limits);
    const deps = {
      ...{ usage, tenures, ports, events, later, metrics, limits, log, tracing },
      dialling: {
        ...{ id, bus, limits, rendezvous },
        onUnanswered: (device: Device, dialledAt: number) => canaries.suspect(device, dialledAt),
      },
      edgeSecret: config.CULVERT_EDGE_SECRET,
    };
    const sittingOut = new SittingOut(limits, (socket, publicPort) => onVisitor(socket, publicPort));
    const onVisitor = (socket: Socket, publicPort: number): void => {
      if (registration.fence !== undefined) return void sittingOut.hold(socket, publicPort, registration.fence);
      const at = tenures.at(publicPort);
      // Closed, or moved to another device, between the kernel's accept and ours.
      if (at === undefined) socket.on('error', () => {}).resetAndDestroy();
      else void serveVisitor(socket, at.endpoint, at.device, deps);
    };
    const reassertion = new Reassertion({
      ...{ from: 'listener', instance: id, bus, log },
      leases: () => [...tenures.devices()].flatMap((device) => assertedOf(device, id)),
      onLost: () => {}, // the comparison that follows every assertion unbinds it
    });
    const reconciler = new Reconciler(id, bus, tenures, reassertion, log);
    health.addCheck('reconciled', () => (reconciler.done ? undefined : 'the ports have not been compared with the store yet'));

    const traces = new Traces({ id, bus, limits, rendezvous, tenures, ports, canaries });
    await serveCommands(id, { bus, tenures, rendezvous, operators: visits, traces, transferUrl: config.CULVERT_TRANSFER_URL });
    followExpiries(id, { bus, tenures, log });
    registration.onFenced = () => reconciler.runAfresh();
    registration.onStoreChanged = () => void reconciler.runAfresh();
    const retiredEdges = new RetiredEdges(redis, limits, log, (generations) => {
      for (const device of tenures.devices()) device.warm.leave(generations);
    });
    bus.onReconnected(() => {
      void reconciler.run();
      void events.flush();
    });
    onStop('wind down', async () => {
      reconciler.stop();
      reassertion.stop();
      rights.stop();
      retiredEdges.stop();
      clearInterval(idle);
      grants.windDown();
      await windDown({ registration, redis, ports, tenures, limits, log });
      await transfers.close();
      await usage.stop();
      later.flush();
      await events.flush();
      events.stop();
      await registration.stop();
    });
    await registration.start();
    await reconciler.run();
  },
});
