"""What engines that capture graphs share: rehearsals, torch's compiler, and its failures."""
