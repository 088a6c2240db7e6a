// In the place of what is sold, once the sales of a show have ended.
import type { ReactNode } from "react";

import type { Sales } from "../show-sales";
import { text, type TextId } from "../texts";
import { Empty } from "./page-states";

type Closed = Exclude<Sales, "open">;

const TEXTS: Record<Closed, [title: TextId, long: TextId]> = {
  ended: ["shared.sales_ended", "shared.sales_ended_long"],
  started: ["shared.sales_started", "shared.sales_started_long"],
  over: ["shared.sales_over", "shared.sales_over_long"],
  postponed: ["shared.sales_postponed", "shared.sales_postponed_long"],
  cancelled: ["shared.sales_cancelled", "shared.sales_cancelled_long"],
};

export function SalesClosed({ sales, action }: { sales: Closed; action?: ReactNode }) {
  const [title, long] = TEXTS[sales];
  return (
    <Empty title={text(title)} action={action}>
      {text(long)}
    </Empty>
  );
}

export const closedTitle = (sales: Closed): string => text(TEXTS[sales][0]);
