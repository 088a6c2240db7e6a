// The messages of the push channels, as workers/push_messages.py makes them. They lack the members
// that only the API knows, so each is merged into the row that the API gave.
import type { Order, PaymentReply, Show, Ticket } from "./api-types";

export type TicketMessage = Omit<Ticket, "updated_at">;
type ReadOnlyMembers = "show_changed" | "returnable";
export type OrderRow = Omit<Order, "server_now" | "seconds_left" | ReadOnlyMembers> &
  Partial<Pick<Order, ReadOnlyMembers>>;
export type PaymentRow = PaymentReply;
/** The live counts of a show. */
export type ShowMessage = Pick<Show, "id" | "version"> & Partial<Show>;

/** An order of one of the seller's tickets. */
export interface SaleMessage {
  order_id: string;
  ticket: TicketMessage;
  amount: number;
  currency: string;
  held_until: string | null;
}

/** The event with the number of a show's viewers. */
export const VIEWERS = "gittix:viewers";

/** The gateway's report of numbers that it left out for a slow client: newer states follow. */
export const SKIPPED = "gittix:skipped";

/** The gateway's answer to a client that requested the messages that it missed. */
export const RESUMED = "gittix:resumed";

export interface PushData {
  ticket?: TicketMessage;
  show?: ShowMessage;
  order?: OrderRow;
  payment?: PaymentRow;
  sale?: SaleMessage;
  /** With VIEWERS: the number of viewers of the show. */
  count?: number;
  /** With hosted Pusher's count of a channel's subscriptions. */
  subscription_count?: number;
  /**
   * The sequence number in the channel, and its epoch; Pusher's own events have none, but for the
   * last message's, which a subscription gets.
   */
  _epoch?: string | number;
  _seq?: number;
  /** With RESUMED: whether the messages before were all, and the position in the channel. */
  recovered?: boolean;
  epoch?: string | number | null;
  seq?: number | null;
  /** With SKIPPED: the lowest and the highest number that may be missing. */
  from?: number;
  to?: number;
  /** In place of data that is too large for hosted Pusher. */
  _read_again?: boolean;
}

export interface PushMessage {
  /** The event's name: `ticket.held`, `order.completed`, … */
  event: string;
  data: PushData;
}
