export type { AnyEvent, CulvertEvent, EventData, EventName } from '@culvert/bus';
export type { DeviceState } from '@culvert/bus/device-state';
export { EVENT_TYPES, EVENTS_VERSION, type EventType } from '@culvert/contracts';
export { connectEvents, Events } from './events.ts';
export type { ConsumeOptions, EventFilter } from './options.ts';
export type { DeviceUpdate, WatchOptions } from './watch-devices.ts';
