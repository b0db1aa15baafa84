import { HEARTBEAT_DEFAULT_MS, HEARTBEAT_MAX_MS, HEARTBEAT_MIN_MS, SUBPROTOCOL } from '@culvert/contracts';
import {
  edgeNetworks,
  InstanceRegistration,
  MANY_DESCRIPTORS,
  Reassertion,
  RetiredEdges,
  readHost,
  runService,
  serveHandshakes,
  setting,
  UsageReport,
  watchFill,
} from '@culvert/service-kit';
import { INLINE_MESSAGE_MAX, renderRefusal } from '@culvert/wire';
import { WebSocketServer } from 'ws';
import { assertedOf } from './asserted.ts';
import { serveCommands } from './commands.ts';
import { Connections } from './connections.ts';
import { ControlConnection, type ControlDeps } from './control-connection.ts';
import { isEnrolment, serveEnrolment } from './enrolment.ts';
import { Gate } from './gate.ts';
import { serveHandshake } from './handshake.ts';
import { HeartbeatWheel } from './heartbeats.ts';
import type { InlineDeps } from './inline-transfers.ts';
import { ListenerAddresses } from './listener-addresses.ts';
import { endLost } from './lost.ts';
import { createMetrics } from './metrics.ts';
import { publicSideOf } from './public-side.ts';
import { Releases } from './releases.ts';
import { Turns } from './turns.ts';
import { leaveEdges, windDown } from './wind-down.ts';

const SERVICE = 'ws-ingress';

await runService({
  name: SERVICE,
  settings: {
    CULVERT_LISTEN_HOST: { read: readHost, fallback: '127.0.0.1', internal: true },
    CULVERT_LISTEN_PORT: { read: setting.integer(0, 65_535), fallback: 0 },
    CULVERT_DOMAIN: { read: setting.domain(), fallback: 'culvert.localhost' },
    CULVERT_PUBLIC_HOST: { read: setting.text(), fallback: '' },
    CULVERT_PUBLIC_PORT: { read: setting.port(), fallback: 0 },
    CULVERT_PUBLIC_SCHEME: { read: setting.text(/^https?$/, 'http or https'), fallback: 'http' },
    CULVERT_EDGE_NETWORKS: edgeNetworks(),
    CULVERT_HEARTBEAT: { read: setting.duration(HEARTBEAT_MIN_MS, HEARTBEAT_MAX_MS), fallback: HEARTBEAT_DEFAULT_MS },
  },
  check: (_values, limits) =>
    limits.ACQUIRE_MS < limits.HANDSHAKE_MS
      ? []
      : [
          `CULVERT_LIMIT_ACQUIRE_MS is ${limits.ACQUIRE_MS}; expected less than CULVERT_LIMIT_HANDSHAKE_MS, ${limits.HANDSHAKE_MS}`,
        ],
  needs: () => ({ descriptors: MANY_DESCRIPTORS, connections: true }),
  stopMs: (limits) => limits.WIND_DOWN_MS + limits.STOP_MS,
  async start({ id, config, limits, log, redis, bus, health, tracing, onStop }) {
    const connections = new Connections();
    const releases = new Releases(bus, limits, log, id);
    const wheel = new HeartbeatWheel(config.CULVERT_HEARTBEAT);
    const gate = new Gate(limits);
    const edges = config.CULVERT_EDGE_NETWORKS;
    const turns = new Turns(limits.ACQUIRES_AT_ONCE);
    const reassertion = new Reassertion({
      ...{ from: 'ingress', instance: id, bus, log },
      leases: () => connections.all().map(({ tenure }) => assertedOf(tenure, id)),
      onLost: (device, epoch, code) => void endLost(connections, device, epoch, code),
    });
    const webSocketOptions = {
      noServer: true,
      perMessageDeflate: false,
      maxPayload: limits.CONTROL_MESSAGE_BYTES,
      closeTimeout: limits.CLOSE_MS, // not in the published types yet
      handleProtocols: (): string => SUBPROTOCOL,
    };
    const webSockets = new WebSocketServer(webSocketOptions);
    const inlineWebSockets = new WebSocketServer({ ...webSocketOptions, maxPayload: INLINE_MESSAGE_MAX });
    const budget = { open: 0 };
    const metrics = createMetrics(health.registry, {
      connections: () => connections.size,
      sockets: () => webSockets.clients.size + inlineWebSockets.clients.size,
      handshakes: () => server.pending,
      releases: () => releases.size,
      acquires: () => turns.taken,
      waiting: () => turns.waiting,
      inline: () => budget.open,
      buffered: () => {
        let bytes = 0;
        for (const { clients } of [webSockets, inlineWebSockets])
          for (const { bufferedAmount } of clients) bytes += bufferedAmount;
        return bytes;
      },
    });
    watchFill(health.registry, {
      handshakes: () => server.pending / limits.HANDSHAKES_PENDING,
      acquires: () => turns.taken / limits.ACQUIRES_AT_ONCE,
    });
    const inline: InlineDeps = { limits, log, metrics, listeners: new ListenerAddresses(redis), budget };
    const scheme = config.CULVERT_PUBLIC_SCHEME === 'https' ? 'https' : 'http';
    const tcpHost = config.CULVERT_PUBLIC_HOST || config.CULVERT_DOMAIN;
    let usage: UsageReport | undefined; // until there is a registration nothing is held
    const control: ControlDeps = {
      bus,
      limits,
      log,
      heartbeatMs: config.CULVERT_HEARTBEAT,
      wheel,
      releases,
      metrics,
      inline,
      tracing,
      publicSide: publicSideOf(scheme, config.CULVERT_PUBLIC_PORT, tcpHost),
      onEnded: (connection) => {
        connections.delete(connection);
        usage?.add(connection.device, { control: connection.takeBytes() });
      },
    };
    let windingDown = false;
    health.addCheck('winding-down', () => (windingDown ? 'this instance is winding down' : undefined));

    let fenced = (): boolean => false; // until there is a registration nothing is held
    await serveCommands(id, { bus, connections, metrics, limits, tracing, fenced: () => fenced() });
    const server = await serveHandshakes({
      host: config.CULVERT_LISTEN_HOST,
      port: config.CULVERT_LISTEN_PORT,
      limits,
      render: renderRefusal,
      onHandshake: (handshake) => {
        if (isEnrolment(handshake)) return void serveEnrolment(handshake, { bus, limits, log, metrics, gate, edges });
        return void serveHandshake(handshake, {
          ...{ id, bus, limits, log, metrics, connections, releases, turns, webSockets, inlineWebSockets, gate, edges },
          windingDown: () => windingDown,
          fenced: () => fenced(),
          onGranted: (ws, tenure, granted) => {
            const connection = new ControlConnection(ws, tenure, control, granted);
            connections.add(connection);
            connection.start();
          },
        });
      },
    });
    const registration = new InstanceRegistration(redis, limits, log, { id, service: SERVICE, address: server.address });
    registration.counts = () => ({ control_connections: connections.size });
    fenced = () => registration.fence !== undefined;
    usage = new UsageReport({
      ...{ bus, log, instance: id, incarnation: registration.record.incarnation, everyMs: limits.USAGE_CONTROL_MS },
      collect: () => {
        for (const connection of connections.all()) usage?.add(connection.device, { control: connection.takeBytes() });
      },
    });
    usage.start();
    const retiredEdges = new RetiredEdges(redis, limits, log, (generations) => leaveEdges(connections, generations, limits));
    registration.onFenced = () => reassertion.run();
    registration.onStoreChanged = () => void reassertion.run();
    bus.onReconnected(() => void reassertion.run());
    await registration.start();

    onStop('wind down', async () => {
      windingDown = true;
      retiredEdges.stop();
      reassertion.stop();
      await windDown({ registration, redis, connections, limits, log });
      await server.close();
      wheel.stop();
      await releases.settle(limits.STOP_MS / 4);
      await usage?.stop();
      await registration.stop();
    });
  },
});
