import { DrainService, type DriverProvider, type Incident, Incidents } from '@lockstep/core';

export interface Made<Port> {
  readonly port: Port;
  /** Everything that was swallowed, in the order of its report. */
  readonly incidents: readonly Incident[];
}

/** What Nest would do with a driver. */
export async function make<Port>(provider: DriverProvider<Port>): Promise<Made<Port>> {
  const incidents = new Incidents();
  const reported: Incident[] = [];
  incidents.subscribe((incident) => reported.push(incident));
  return { port: await provider.useFactory(incidents, new DrainService(incidents)), incidents: reported };
}
