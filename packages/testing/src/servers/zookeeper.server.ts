import { mkdirSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fourLetterWord } from '../protocol/four-letter-word.js';
import { type LocatedZooKeeper, locateZooKeeper } from '../provision/index.js';
import { containerLaunch } from './container-launch.js';
import { LocalServer, type LocalServerOptions } from './local-server.js';
import { startOrCleanUp } from './redis.server.js';
import { type ZooKeeperSettings, zooKeeperConfiguration } from './zookeeper-configuration.js';

export interface ZooKeeperServerOptions extends LocalServerOptions, ZooKeeperSettings {}

// The server is small and short-lived: quick to start is worth more than quick to run.
const JVM_FLAGS = ['-Xmx128m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1', '-Djava.net.preferIPv4Stack=true'];
const LOG_FLAGS = ['-Dorg.slf4j.simpleLogger.defaultLogLevel=warn'];
const MAIN = 'org.apache.zookeeper.server.ZooKeeperServerMain';
const LOGBACK = `<configuration>
  <appender name="LOG" class="ch.qos.logback.core.ConsoleAppender"><encoder><pattern>%msg%n</pattern></encoder></appender>
  <root level="WARN"><appender-ref ref="LOG"/></root>
</configuration>`;
const LOG4J = `log4j.rootLogger=WARN, LOG
log4j.appender.LOG=org.apache.log4j.ConsoleAppender
log4j.appender.LOG.layout=org.apache.log4j.SimpleLayout`;

/**
 * Starts a ZooKeeper of one node on a private port and resolves when it serves requests.
 * @throws ServerNotAvailableError when no server or no Java can be had, saying what was tried
 * @throws ServerStartError when it refuses to start
 */
export async function startZooKeeper(options: ZooKeeperServerOptions = {}): Promise<ZooKeeperServer> {
  return ZooKeeperServer.start(await locateZooKeeper(), options);
}

/** A running ZooKeeper. Its data and its sessions survive `kill()` and `restart()`, as the log of a real one does. */
export class ZooKeeperServer extends LocalServer {
  protected readonly stopSignal = 'SIGTERM';

  private constructor(
    /** Where the server came from. */
    readonly located: LocatedZooKeeper,
    private readonly settings: ZooKeeperSettings,
    options: LocalServerOptions,
  ) {
    super('zookeeper', options);
  }

  static async start(located: LocatedZooKeeper, options: ZooKeeperServerOptions): Promise<ZooKeeperServer> {
    const server = new ZooKeeperServer(located, options, options);
    await startOrCleanUp(server, () => server.start());
    return server;
  }

  /** For tools that take URLs, such as the fault proxy. */
  get url(): string {
    return `zookeeper://${this.host}:${this.port}`;
  }

  /** `host:port`, as ZooKeeper clients take it. */
  get connectString(): string {
    return `${this.host}:${this.port}`;
  }

  /** Asks one of the server's four-letter questions (`mntr`, `dump`, `cons` …). */
  ask(word: string): Promise<string> {
    return fourLetterWord(this, word);
  }

  protected async prepareData(): Promise<void> {
    mkdirSync(this.dataFolder, { recursive: true });
    writeFileSync(join(this.folder, 'logback.xml'), LOGBACK);
    writeFileSync(join(this.folder, 'log4j.properties'), LOG4J);
  }

  protected launch(port: number): ReturnType<LocalServer['launch']> {
    const { image, binary, env, classpath } = this.located;
    if (image !== undefined) return this.containerLaunch(image, port);
    const file = join(this.folder, 'zoo.cfg');
    writeFileSync(file, zooKeeperConfiguration(this.settings, this.dataFolder, { host: this.host, port }));
    const own = ['-cp', [this.folder, ...classpath].join(delimiter), MAIN, file];
    const args = [...JVM_FLAGS, ...LOG_FLAGS, ...own];
    return { command: binary, args, env, userId: undefined, container: undefined };
  }

  protected async probe(): Promise<void> {
    const conf = await this.ask('conf');
    const dataDir = /^dataDir=(.*)$/m.exec(conf)?.[1];
    if (dataDir === undefined) throw new Error(`The server is still starting: ${conf}`);
    const isOurs = this.located.image !== undefined || dataDir.startsWith(this.dataFolder);
    if (!isOurs) throw new Error(`Another server answers on port ${this.port}`);
    const health = await this.ask('ruok');
    if (health !== 'imok') throw new Error(`The server does not say that it is well: ${health}`);
  }

  private containerLaunch(image: string, port: number): ReturnType<LocalServer['launch']> {
    const inside = { host: '0.0.0.0', port: 2181 };
    writeFileSync(join(this.dataFolder, 'zoo.cfg'), zooKeeperConfiguration(this.settings, '/data', inside));
    const env = ['ZOO_CONF_DIR=/data', 'ZOO_LOG_DIR=/data/log', `JVMFLAGS=${[...JVM_FLAGS, ...LOG_FLAGS].join(' ')}`];
    const shape = { port, inside: inside.port, folder: this.dataFolder, mount: '/data', env };
    return containerLaunch(image, shape, ['zkServer.sh', 'start-foreground', '/data/zoo.cfg']);
  }
}
