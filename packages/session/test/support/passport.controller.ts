import { CurrentSession, type SessionRef, SessionService } from '@lockstep/session';
import {
  type CanActivate,
  Controller,
  type ExecutionContext,
  Get,
  Inject,
  Injectable,
  Post,
  Req,
  UseGuards,
} from '@nestjs/common';
import { AuthGuard, PassportSerializer, PassportStrategy } from '@nestjs/passport';
import passport from 'passport';
import { Strategy } from 'passport-local';

export interface User {
  readonly id: string;
  readonly name: string;
}

interface PassportRequest {
  user?: User;
  session: Record<string, unknown> & { id?: string };
  logOut(options: object, done: (error?: unknown) => void): void;
}

@Injectable()
export class LocalStrategy extends PassportStrategy(Strategy) {
  validate(username: string, password: string): User | undefined {
    return password === 'right' ? { id: username, name: `${username} of the mall` } : undefined;
  }
}

@Injectable()
export class UserSerializer extends PassportSerializer {
  serializeUser(user: User, done: (error: unknown, id?: string) => void): void {
    done(null, user.id);
  }

  deserializeUser(id: string, done: (error: unknown, user?: User) => void): void {
    done(null, { id, name: `${id} of the mall` });
  }
}

/** As Nest's documentation writes it. */
@Injectable()
export class PassportLoginGuard extends AuthGuard('local') {
  override async canActivate(context: ExecutionContext): Promise<boolean> {
    const isRight = (await super.canActivate(context)) as boolean;
    await super.logIn(context.switchToHttp().getRequest());
    return isRight;
  }
}

/** Passport proves who it is, and the session is told: so the user is listed, limited and can be logged out. */
@Injectable()
export class ListedLoginGuard extends PassportLoginGuard {
  constructor(@Inject(SessionService) private readonly sessions: SessionService) {
    super();
  }

  override async canActivate(context: ExecutionContext): Promise<boolean> {
    const isRight = await super.canActivate(context);
    const { user } = context.switchToHttp().getRequest<{ user: User }>();
    await this.sessions.current.login({ id: user.id }, { amr: ['pwd'] });
    return isRight;
  }
}

/** Puts the user of the session into `request.user`, on any platform; `passport.session()` is for Express alone. */
@Injectable()
export class SessionUserGuard implements CanActivate {
  async canActivate(context: ExecutionContext): Promise<boolean> {
    const http = context.switchToHttp();
    await new Promise<void>((resolve, reject) => {
      const authenticate = passport.authenticate('session');
      authenticate(http.getRequest(), http.getResponse(), (error: unknown) => (error ? reject(error) : resolve()));
    });
    return true;
  }
}

@Controller()
export class PassportController {
  @Post('set')
  set(@Req() request: PassportRequest): object {
    request.session['cart'] = ['tea'];
    return { ok: true };
  }

  @Post('login')
  @UseGuards(PassportLoginGuard)
  login(@Req() request: PassportRequest): object {
    return { user: request.user, keys: Object.keys(request.session) };
  }

  @Post('login-listed')
  @UseGuards(ListedLoginGuard)
  loginListed(@CurrentSession() session: SessionRef): object {
    return { principal: session.principal };
  }

  @Get('me')
  @UseGuards(SessionUserGuard)
  me(@Req() request: PassportRequest): object {
    return { user: request.user ?? null, session: { ...request.session } };
  }

  /** Only what `passport.session()` found before. */
  @Get('found')
  found(@Req() request: PassportRequest & { raw?: PassportRequest }): object {
    return { user: (request.raw ?? request).user ?? null };
  }

  @Post('logout')
  @UseGuards(SessionUserGuard)
  async logout(@Req() request: PassportRequest): Promise<object> {
    await new Promise<void>((resolve, reject) => {
      request.logOut({ keepSessionInfo: false }, (error) => (error ? reject(error) : resolve()));
    });
    return { keys: Object.keys(request.session) };
  }
}
