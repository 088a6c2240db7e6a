// The header's link to sign in, or the menu of the signed-in user.
import { useEffect, useRef } from "react";
import { Link, useLocation } from "react-router";

import type { User } from "../shared/api-types";
import { useValue } from "../shared/observable";
import { readUser, signOut, user } from "../shared/session";
import { text } from "../shared/texts";
import { toast } from "../shared/ui/toasts";

export function AccountMenu() {
  const current = useValue(user);
  const setNotice = useSignOutNotice(current);
  useEffect(() => void readUser(), []);
  if (current === undefined) return <span className="account-place" />;
  if (current === null) return <SignInLink />;
  const leave = async (everywhere: boolean) => {
    setNotice(text(everywhere ? "account.signed_out_everywhere" : "account.signed_out"));
    await signOut({ everywhere }).catch(() => {
      setNotice(null);
      toast(text("account.not_signed_out"));
    });
  };
  return <Menu current={current} leave={leave} />;
}

function SignInLink() {
  const { pathname, search } = useLocation();
  const here = `?next=${encodeURIComponent(pathname + search)}`;
  return (
    <Link className="button small" to={`/signin${pathname.startsWith("/sign") ? search : here}`}>
      {text("account.sign_in")}
    </Link>
  );
}

interface MenuProps {
  current: User;
  leave: (everywhere: boolean) => Promise<void>;
}

function Menu({ current, leave }: MenuProps) {
  const menu = useRef<HTMLDetailsElement>(null);
  const close = () => {
    if (menu.current) menu.current.open = false;
  };
  useCloseOutside(menu);
  const choose = (everywhere: boolean) => {
    close();
    void leave(everywhere);
  };
  return (
    <details className="account" ref={menu}>
      <summary className="button quiet small">{text("account.menu")}</summary>
      <div className="card menu">
        <p>
          <b>@{current.handle}</b>
          <br />
          <span className="note" title={current.email}>
            {current.email}
          </span>
        </p>
        <Link to="/account" onClick={close}>
          {text("account.title")}
        </Link>
        <button
          type="button"
          onClick={() => {
            choose(false);
          }}
        >
          {text("account.sign_out")}
        </button>
        <button
          type="button"
          onClick={() => {
            choose(true);
          }}
        >
          {text("account.sign_out_everywhere")}
        </button>
      </div>
    </details>
  );
}

/** Closes the menu on Escape, and when the focus leaves it. */
function useCloseOutside(menu: React.RefObject<HTMLDetailsElement | null>): void {
  useEffect(() => {
    const element = menu.current;
    if (!element) return undefined;
    const onKeyDown = ({ key }: KeyboardEvent) => {
      if (key === "Escape") element.open = false;
    };
    const onFocusOut = ({ relatedTarget }: FocusEvent) => {
      if (!element.contains(relatedTarget as Node | null)) element.open = false;
    };
    element.addEventListener("keydown", onKeyDown);
    element.addEventListener("focusout", onFocusOut);
    return () => {
      element.removeEventListener("keydown", onKeyDown);
      element.removeEventListener("focusout", onFocusOut);
    };
  }, [menu]);
}

/**
 * Shows a notice when the user was signed out. Call the returned function with the notice's text
 * before a sign-out on this page. Without it, the notice is about a sign-out elsewhere.
 */
function useSignOutNotice(current: User | null | undefined): (words: string | null) => void {
  const before = useRef<User | null>(null);
  const notice = useRef<string | null>(null);
  useEffect(() => {
    if (before.current && current === null) {
      toast(notice.current ?? text("account.signed_out_elsewhere"));
    }
    before.current = current ?? null;
    notice.current = null;
  }, [current]);
  return (words) => {
    notice.current = words;
  };
}
