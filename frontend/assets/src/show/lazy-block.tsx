// A part of a long list: in the page only while it is near the part of the page that is shown.
import { type ReactNode, useEffect, useRef, useState } from "react";

/** How far outside of the window a block is still rendered. */
const MARGIN = "1200px 0px";

interface LazyBlockProps {
  /** The height until the content was rendered once. */
  estimate: number;
  /** Called when the block comes near. */
  onNear?: () => void;
  children?: () => ReactNode;
}

/**
 * Outside of the window, the block is an empty element of the height that its content had, so the
 * scroll bar stays as it is. A block that has the focus stays.
 */
export function LazyBlock({ estimate, onNear, children }: LazyBlockProps) {
  const ref = useRef<HTMLDivElement>(null);
  const near = useRef(onNear);
  const [shown, setShown] = useState(false);
  const [height, setHeight] = useState(estimate);
  useEffect(() => {
    near.current = onNear;
  });
  useEffect(() => {
    const element = ref.current;
    if (!element) return;
    const observer = new IntersectionObserver(
      ([entry]) => {
        if (!entry) return;
        if (entry.isIntersecting) near.current?.();
        else if (element.contains(document.activeElement)) return;
        else if (element.childElementCount > 0) setHeight(element.offsetHeight);
        setShown(entry.isIntersecting);
      },
      { rootMargin: MARGIN },
    );
    observer.observe(element);
    return () => {
      observer.disconnect();
    };
  }, []);
  return (
    <div ref={ref} className="lazy" style={shown ? undefined : { height }}>
      {shown && children?.()}
    </div>
  );
}
