/** A worker that was built with another version of batpak. */
import { wireToParent } from "../../../platform/realm.ts";
import { tagged } from "../protocol.ts";

const wire = wireToParent();
const hello = () => wire.post(tagged({ type: "hello", version: 99 }));
wire.listen(hello);
hello();
