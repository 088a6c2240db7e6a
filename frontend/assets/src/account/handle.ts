// The public name of an account.
import { Problem } from "../shared/http";

export const MAX_HANDLE_LENGTH = 24;

/** The refusals of the API that are about the handle, with their messages. */
const MESSAGES: Record<string, string> = {
  handle_taken: "this handle is taken, or looks like one that is; choose another one",
  too_many_handles: "you changed it five times in 90 days; take back a former handle, or wait",
};

/** What was typed, as the API stores it. */
export function handleOf(typed: string): string {
  return typed.trim().toLowerCase();
}

/** Performs a request. Its refusal of the handle is thrown as an error of the field `handle`. */
export async function besideHandle<T>(request: () => Promise<T>): Promise<T> {
  try {
    return await request();
  } catch (error) {
    const message = error instanceof Problem ? MESSAGES[error.code] : undefined;
    if (!(error instanceof Problem) || !message) throw error;
    throw new Problem(error.status, { ...error.body, errors: [{ field: "handle", message }] });
  }
}
