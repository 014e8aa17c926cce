// The driver that a URL asks for, for the child processes of specs that run on both servers.
import { mariadbDriver } from '@lockstep/sql/mariadb';
import { pgDriver } from '@lockstep/sql/postgres';

export const driverFor = (url) => (url.startsWith('mysql:') ? mariadbDriver({ url }) : pgDriver({ url }));
